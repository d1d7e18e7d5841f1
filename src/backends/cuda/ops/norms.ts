import type { Tensor } from '../../../tensor/tensor.ts';
import { checkGroups, type GroupLayout } from '../../contract/norms.ts';
import { type CudaCalls, elementGrid, flag } from '../device/cuda-calls.ts';
import type { CudaTensor } from '../device/cuda-tensor.ts';

export function rmsNorm(calls: CudaCalls, x: Tensor, weight: Tensor, eps: number): CudaTensor {
  const own = calls.floats(x, 'x', [null, null]);
  const [T, C] = own.shape;
  const scales = calls.floats(weight, 'weight', [C]);
  const out = calls.make(own.shape);
  const alone = { addend: undefined, sum: undefined, parts: undefined, factors: undefined };
  calls.device.launch(
    'rms_norm',
    { blocks: [T], threads: 256 },
    {
      ...{ x: own, weight: scales, out, C, eps, ...alone },
      ...{ padded: 0, isFloat16: 0, hasAddend: 0, numParts: 0, partsAreInBlocks: 0 },
    },
  );
  return out;
}

export function groupSquareSums(calls: CudaCalls, v: Tensor, groups: number, layout: GroupLayout): CudaTensor {
  const own = calls.floats(v, 'v', [null, null]);
  const [T, C] = own.shape;
  checkGroups(C, groups, layout);
  const out = calls.make([T, groups]);
  const parameters = { v: own, out, C, groups, ...layout };
  calls.device.launch('group_square_sums', { blocks: [T * groups], threads: 256 }, parameters);
  return out;
}

export function scaleByGroupNorm(
  calls: CudaCalls,
  v: Tensor,
  squareSums: Tensor,
  weight: Tensor,
  eps: number,
  layout: GroupLayout,
): CudaTensor {
  const own = calls.floats(v, 'v', [null, null]);
  const [T, C] = own.shape;
  const sums = calls.floats(squareSums, 'squareSums', [T, null]);
  const scales = calls.floats(weight, 'weight', [C]);
  checkGroups(C, sums.shape[1], layout);
  return scaled(calls, own, sums, scales, { ...layout, count: layout.groupSize, eps });
}

export function scaleRows(calls: CudaCalls, x: Tensor, squareSums: Tensor, count: number, eps: number): CudaTensor {
  const own = calls.floats(x, 'x', [null, null]);
  const [T, C] = own.shape;
  const sums = calls.floats(squareSums, 'squareSums', [T, 1]);
  return scaled(calls, own, sums, undefined, { firstColumn: 0, groupSize: Math.max(1, C), count, eps });
}

function scaled(
  calls: CudaCalls,
  v: CudaTensor,
  squareSums: CudaTensor,
  weight: CudaTensor | undefined,
  numbers: GroupLayout & { readonly count: number; readonly eps: number },
): CudaTensor {
  const [T, C] = v.shape;
  const out = calls.make(v.shape);
  const parameters = { v, squareSums, weight, out, T, C, hasWeight: flag(weight), ...numbers };
  calls.device.launch('scale_by_group_norm', elementGrid(T, C), parameters);
  return out;
}

import type { Tensor } from '../../../tensor/tensor.ts';
import { MLP_ACTIVATIONS, type MlpActivation } from '../../contract/activations.ts';
import { checkConcat } from '../../contract/arrays.ts';
import { checkDistinctRows, checkRowNumbers } from '../../contract/rows.ts';
import { type CudaCalls, elementGrid } from '../device/cuda-calls.ts';
import type { CudaTensor } from '../device/cuda-tensor.ts';

/** Numbers of kinds in rows.cu. */
const KINDS = { add: 0, scale: 1, columns: 2, siluGate: 3, copy: 4, activate: 8, activateAndMul: 16 } as const;

/** What an element becomes, of the tensor it is in and of another. */
interface Elementwise {
  readonly kind: number;
  readonly y?: CudaTensor;
  readonly factor?: number;
}

function elementwise(calls: CudaCalls, x: CudaTensor, { kind, y, factor = 0 }: Elementwise, out = calls.make(x.shape)) {
  const [T, C] = x.shape;
  calls.device.launch('elementwise', elementGrid(T, C), { x, y, out, T, C, kind, factor });
  return out;
}

/** x as a tensor of rows and columns of this backend, and y as another of the same shape. */
function alike(calls: CudaCalls, [x, xName]: readonly [Tensor, string], [y, yName]: readonly [Tensor, string]) {
  const own = calls.floats(x, xName, [null, null]);
  return { x: own, y: calls.floats(y, yName, own.shape) };
}

export function add(calls: CudaCalls, x: Tensor, y: Tensor): CudaTensor {
  const both = alike(calls, [x, 'x'], [y, 'y']);
  return elementwise(calls, both.x, { kind: KINDS.add, y: both.y });
}

export function mulScalar(calls: CudaCalls, x: Tensor, factor: number): CudaTensor {
  return elementwise(calls, calls.floats(x, 'x', [null, null]), { kind: KINDS.scale, factor });
}

export function mulColumns(calls: CudaCalls, x: Tensor, v: Tensor): CudaTensor {
  const own = calls.floats(x, 'x', [null, null]);
  return elementwise(calls, own, { kind: KINDS.columns, y: calls.floats(v, 'v', [own.shape[1]]) });
}

export function siluGate(calls: CudaCalls, x: Tensor, z: Tensor): CudaTensor {
  const both = alike(calls, [x, 'x'], [z, 'z']);
  return elementwise(calls, both.x, { kind: KINDS.siluGate, y: both.y });
}

export function activate(calls: CudaCalls, x: Tensor, activation: MlpActivation): CudaTensor {
  const kind = KINDS.activate + MLP_ACTIVATIONS.indexOf(activation);
  return elementwise(calls, calls.floats(x, 'x', [null, null]), { kind });
}

export function activateAndMul(calls: CudaCalls, gate: Tensor, x: Tensor, activation: MlpActivation): CudaTensor {
  const both = alike(calls, [x, 'x'], [gate, 'gate']);
  const kind = KINDS.activateAndMul + MLP_ACTIVATIONS.indexOf(activation);
  return elementwise(calls, both.y, { kind, y: both.x });
}

export function concatColumns(calls: CudaCalls, parts: readonly Tensor[]): CudaTensor {
  const [T] = checkConcat(parts);
  const out = calls.make([T, parts.reduce((sum, { shape }) => sum + shape[1], 0)]);
  let column = 0;
  for (const part of parts) {
    const from = calls.floats(part, 'a part', part.shape);
    elementwise(calls, from, { kind: KINDS.copy }, out.view(part.shape, column));
    column += part.shape[1];
  }
  return out;
}

export function gatherRows(calls: CudaCalls, x: Tensor, rows: Tensor): CudaTensor {
  const from = calls.floats(x, 'x', [null, null]);
  const picked = calls.indices(rows, 'rows', null);
  const [T, C] = from.shape;
  checkRowNumbers(picked.data, T);
  const count = picked.data.length;
  const out = calls.make([count, C]);
  calls.device.launch('gather_rows', elementGrid(count, C), { x: from, out, rows: picked.address, T: count, C });
  return out;
}

export function scatterRows(calls: CudaCalls, x: Tensor, rows: Tensor, into: Tensor): void {
  const to = calls.floats(into, 'into', [null, null]);
  const places = calls.indices(rows, 'rows', null);
  const [T, C] = to.shape;
  const count = places.data.length;
  const from = calls.floats(x, 'x', [count, C]);
  checkDistinctRows(places.data, T);
  calls.device.launch('scatter_rows', elementGrid(count, C), { x: from, out: to, rows: places.address, T: count, C });
}

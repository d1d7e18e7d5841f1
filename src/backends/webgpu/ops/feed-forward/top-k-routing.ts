import type { Tensor } from '../../../../tensor/tensor.ts';
import { checkRouting, type RoutingOptions } from '../../../contract/experts.ts';
import { GpuTensor } from '../../device/gpu-tensor.ts';
import { place, rowGrid } from '../../graph/lowering.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Calls } from '../calls.ts';

const TOP_K_ROUTING = defineOperation<{
  readonly logits: GpuTensor;
  readonly options: RoutingOptions;
  readonly bias: GpuTensor | undefined;
  readonly out: GpuTensor;
}>({
  name: 'topKRouting',
  rowOperands: ['logits', 'out'],
  lower: (lowering, { logits, options, bias, out }) => {
    const [T, E] = logits.shape;
    const { topK, scoring, numGroups = 1, topKGroups = numGroups, renormalize, scale = 1 } = options;
    lowering.dispatch('top-k-routing', {
      constants: { E, GROUPS: numGroups, SIGMOID: scoring === 'sigmoid' },
      bindings: { logits: logits.storage, bias: bias?.storage ?? lowering.nothing, out: out.storage },
      params: {
        T,
        topK,
        topKGroups,
        renormalize: renormalize ? 1 : 0,
        scale,
        hasBias: bias ? 1 : 0,
        ...place('logits', logits),
        ...place('bias', bias),
        ...place('out', out),
      },
      workgroups: rowGrid(1, T),
    });
  },
});

/** Weights of experts that say how many experts each row visits. */
export class GpuRouting extends GpuTensor {
  readonly visitsPerRow: number;

  constructor({ parts, shape, offset, stride }: GpuTensor, visitsPerRow: number) {
    super(parts.length === 1 ? parts[0].tensor.storage : parts, shape, offset, stride);
    this.visitsPerRow = visitsPerRow;
  }
}

export function topKRouting(
  calls: Calls,
  logits: Tensor,
  options: RoutingOptions,
  correctionBias?: Tensor,
): GpuRouting {
  const rows = calls.floats(logits, 'logits', [null, null]);
  const E = logits.shape[1];
  const bias = calls.optional(correctionBias, 'correctionBias', [E]);
  checkRouting(E, options);
  return new GpuRouting(calls.make(TOP_K_ROUTING, logits.shape, { logits: rows, options, bias }), options.topK);
}

import { type CausalConv1dUpdateArgs, checkSeenTokens, checkStateWidth } from '../../../contract/convolution.ts';
import { checkSlots, slotsOrDefault } from '../../../contract/sequences.ts';
import { type GpuIndices, GpuTensor } from '../../device/gpu-tensor.ts';
import { elementGrid, place } from '../../graph/lowering.ts';
import { defineOperation } from '../../graph/operation.ts';
import { type Convolution, isSilu } from '../../linear/convolved-columns.ts';
import type { Calls } from '../calls.ts';

/** x and out are (B, L, C). */
export interface ConvolutionUpdate extends Convolution {
  readonly seen: GpuIndices | undefined;
}

export const CAUSAL_CONV1D_UPDATE = defineOperation<ConvolutionUpdate>({
  name: 'causalConv1dUpdate',
  lower: (lowering, { x, weight, bias, activation, states, slots, seen, out }) => {
    const { nothing } = lowering;
    const [T, L, C] = x.shape;
    for (const { firstRow, tensor } of states.parts) {
      lowering.dispatch('causal-conv1d-update', {
        bindings: {
          x: x.storage,
          weight: weight.storage,
          bias: bias?.storage ?? nothing,
          slots: slots?.storage ?? nothing,
          seen: seen?.storage ?? nothing,
          states: tensor.storage,
          out: out.storage,
        },
        params: {
          T,
          C,
          L,
          K: weight.shape[1],
          W: states.shape[2],
          silu: isSilu(activation) ? 1 : 0,
          hasBias: bias ? 1 : 0,
          hasSlots: slots ? 1 : 0,
          isRing: seen ? 1 : 0,
          firstSlot: firstRow,
          slotCount: tensor.shape[0],
          ...place('x', x),
          ...place('weight', weight),
          ...place('bias', bias),
          ...place('states', tensor),
          ...place('out', out),
        },
        workgroups: elementGrid(C, T),
      });
    }
  },
});

export function causalConv1dUpdate(calls: Calls, args: CausalConv1dUpdateArgs): GpuTensor {
  const [C, K] = args.weight.shape;
  const several = args.x.shape.length === 3;
  const x = calls.floats(args.x, 'x', several ? [null, null, C] : [null, C]);
  const [B, L] = several ? x.shape : [x.shape[0], 1];
  const weight = calls.floats(args.weight, 'weight', [null, null]);
  const bias = calls.optional(args.bias, 'bias', [C]);
  const states = calls.floats(args.convState, 'convState', [null, C, null]);
  checkStateWidth(states, K);
  const slots = args.convStateIndices && calls.indices(args.convStateIndices, 'convStateIndices', B);
  checkSlots(slotsOrDefault(slots, 'convStateIndices', B), states.shape[0], 'convStateIndices');
  const seen = args.cacheSeqlens && calls.indices(args.cacheSeqlens, 'cacheSeqlens', B);
  if (seen) checkSeenTokens(seen.data);
  const { out, finish } = calls.target(args.out, x.shape, [x, weight, bias]);
  if (x.isEmpty) return finish();
  const cube = (tensor: GpuTensor) => new GpuTensor(tensor.storage, [B, L, C], tensor.offset, tensor.stride);
  const { activation } = args;
  calls.enqueue(CAUSAL_CONV1D_UPDATE, { x: cube(x), weight, bias, activation, states, slots, seen, out: cube(out) });
  return finish();
}

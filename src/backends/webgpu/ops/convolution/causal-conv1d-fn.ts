import { type Activation, type CausalConv1dArgs, checkStateWidth } from '../../../contract/convolution.ts';
import type { GpuTensor } from '../../device/gpu-tensor.ts';
import { elementGrid, place } from '../../graph/lowering.ts';
import { defineOperation } from '../../graph/operation.ts';
import { isSilu } from '../../linear/convolved-columns.ts';
import type { Calls } from '../calls.ts';
import type { SequenceTable } from '../sequence-table.ts';

const CAUSAL_CONV1D_FN = defineOperation<{
  readonly x: GpuTensor;
  readonly weight: GpuTensor;
  readonly bias: GpuTensor | undefined;
  readonly activation: Activation | undefined;
  readonly states: GpuTensor;
  readonly sequences: SequenceTable;
  readonly keepState: boolean;
  readonly out: GpuTensor;
}>({
  name: 'causalConv1dFn',
  lower: (lowering, { x, weight, bias, activation, states, sequences, keepState, out }) => {
    const [T, C] = out.shape;
    const [K, W] = [weight.shape[1], states.shape[2]];
    const table = sequences.table.storage;
    for (const { firstRow, tensor } of states.parts) {
      const slots = { firstSlot: firstRow, slotCount: tensor.shape[0], ...place('states', tensor) };
      lowering.dispatch('causal-conv1d-fn', {
        bindings: {
          x: x.storage,
          weight: weight.storage,
          bias: bias?.storage ?? lowering.nothing,
          states: tensor.storage,
          sequences: table,
          out: out.storage,
        },
        params: {
          T,
          C,
          K,
          W,
          count: sequences.count,
          silu: isSilu(activation) ? 1 : 0,
          hasBias: bias ? 1 : 0,
          ...slots,
          ...place('x', x),
          ...place('weight', weight),
          ...place('bias', bias),
          ...place('out', out),
        },
        workgroups: elementGrid(C, T),
      });
      if (W === 0 || !keepState) continue;
      lowering.dispatch('causal-conv1d-states', {
        bindings: { x: x.storage, sequences: table, states: tensor.storage },
        params: { T: sequences.count, C, W, ...slots, ...place('x', x) },
        workgroups: elementGrid(C, sequences.count),
      });
    }
  },
});

export function causalConv1dFn(calls: Calls, args: CausalConv1dArgs): GpuTensor {
  const [C, K] = args.weight.shape;
  const x = calls.floats(args.x, 'x', [null, C]);
  const weight = calls.floats(args.weight, 'weight', [null, null]);
  const bias = calls.optional(args.bias, 'bias', [C]);
  const states = calls.floats(args.convStates, 'convStates', [null, C, null]);
  checkStateWidth(states, K);
  const sequences = calls.sequences(args, x.shape[0], states.shape[0]);
  const { out, finish } = calls.target(args.out, x.shape, [x, weight, bias]);
  const { activation, keepState = true } = args;
  const operands = { x, weight, bias, activation, states, sequences, keepState, out };
  if (!x.isEmpty) calls.enqueue(CAUSAL_CONV1D_FN, operands);
  return finish();
}

import { describe, test } from 'vitest';
import type { Backend } from '../../../src/backends/contract/backend.ts';
import type { Tensor } from '../../../src/tensor/tensor.ts';
import { expectSame, indices, type MakeBackend, stridedView, useBackend } from './harness.ts';
import { Inputs } from './inputs.ts';
import { operationArgs, randomInputs } from './state-space-problem.ts';

/** Makes a tensor of these values, as a backend would or as a view whose first dimension is strided. */
type Place = (values: Float32Array, shape: readonly number[]) => Tensor;

/** Tests that every float32 argument may be a view, not only activations: weights, vectors and states too. */
export function describeStridedArguments(makeBackend: MakeBackend): void {
  describe('strided arguments give what contiguous ones do', () => {
    const backend = useBackend(makeBackend);
    const sizes = { heads: 4, headDim: 3, stateSize: 5, groups: 2 };

    const calls: Record<string, (b: Backend, place: Place, inputs: Inputs) => Tensor[]> = {
      'the bias of linear': (b, place, inputs) => {
        const weight = b.linearWeight(inputs.normal(6 * 4), 6, 4, 'float32');
        return [b.linear(b.tensor(inputs.normal(8), [2, 4]), weight, place(inputs.normal(6), [6]))];
      },
      'the factors of mulColumns': (b, place, inputs) => [
        b.mulColumns(b.tensor(inputs.normal(8), [2, 4]), place(inputs.normal(4), [4])),
      ],
      'the weight of rmsNorm': (b, place, inputs) => [
        b.rmsNorm(b.tensor(inputs.normal(8), [2, 4]), place(inputs.normal(4), [4]), 1e-5),
      ],
      'square sums and weight of a grouped norm': (b, place, inputs) => {
        const v = place(inputs.normal(12), [2, 6]);
        const layout = { firstColumn: 0, groupSize: 3 };
        const sums = place(inputs.normal(4).map(Math.abs), [2, 2]);
        return [
          b.groupSquareSums(v, 2, layout),
          b.scaleByGroupNorm(v, sums, place(inputs.normal(6), [6]), 1e-5, layout),
        ];
      },
      'weight, bias and states of causalConv1dFn': (b, place, inputs) => {
        const convStates = place(inputs.normal(3 * 4 * 2), [3, 4, 2]);
        const y = b.causalConv1dFn({
          x: b.tensor(inputs.normal(5 * 4), [5, 4]),
          weight: place(inputs.normal(4 * 3), [4, 3]),
          bias: place(inputs.normal(4), [4]),
          convStates,
          queryStartLoc: indices(b, [0, 4, 5]),
          cacheIndices: indices(b, [2, 1]),
          hasInitialState: indices(b, [1, 0]),
        });
        return [y, convStates];
      },
      'x, weight, bias and states of causalConv1dUpdate': (b, place, inputs) => {
        const convState = place(inputs.normal(3 * 4 * 2), [3, 4, 2]);
        const y = b.causalConv1dUpdate({
          x: place(inputs.normal(2 * 2 * 4), [2, 2, 4]),
          weight: place(inputs.normal(4 * 3), [4, 3]),
          bias: place(inputs.normal(4), [4]),
          convState,
          convStateIndices: indices(b, [2, 0]),
          cacheSeqlens: indices(b, [3, 8]),
        });
        return [y, convState];
      },
      'A, D, dt bias and states of mambaChunkScan': (b, place, inputs) => {
        const ssmStates = place(inputs.normal(2 * 60), [2, 4, 3, 5]);
        const y = b.mambaChunkScan({
          ...operationArgs(b, randomInputs(inputs, sizes, 6)),
          A: place(inputs.decayRates(4), [4]),
          D: place(inputs.normal(4), [4]),
          dtBias: place(inputs.normal(4), [4]),
          ssmStates,
          queryStartLoc: indices(b, [0, 6]),
          cacheIndices: indices(b, [1]),
          hasInitialState: indices(b, [1]),
          chunkSize: 4,
        });
        return [y, ssmStates];
      },
      'A, D, dt, dt bias and states per dim of selectiveStateUpdate': (b, place, inputs) => {
        const state = place(inputs.normal(3 * 60), [3, 4, 3, 5]);
        const y = b.selectiveStateUpdate({
          ...operationArgs(b, randomInputs(inputs, sizes, 2)),
          dt: place(inputs.normal(2 * 12), [2, 4, 3]),
          A: place(inputs.decayRates(60), [4, 3, 5]),
          D: place(inputs.normal(12), [4, 3]),
          dtBias: place(inputs.normal(12), [4, 3]),
          state,
          stateBatchIndices: indices(b, [2, 1]),
        });
        return [y, state];
      },
      'the state of copySlot': (b, place, inputs) => {
        const state = place(inputs.normal(3 * 6), [3, 2, 3]);
        b.copySlot(state, 0, 2);
        return [state];
      },
      'the state of saveSlot and loadSlot': (b, place, inputs) => {
        const state = place(inputs.normal(3 * 6), [3, 2, 3]);
        b.loadSlot(state, 2, b.saveSlot(state, 1));
        return [state];
      },
    };

    test.each(Object.entries(calls))('%s', async (_, call) => {
      const b = backend();
      const contiguous: Place = (values, shape) => b.tensor(values, shape);
      const strided: Place = (values, shape) => {
        const [rows] = shape;
        return b.reshape(stridedView(b, values, rows, values.length / rows), shape);
      };
      const expected = call(b, contiguous, new Inputs(1));
      const actual = call(b, strided, new Inputs(1));
      for (const [i, tensor] of actual.entries()) {
        expectSame(await b.read(tensor), await b.read(expected[i]), `result ${i}`);
      }
    });
  });
}

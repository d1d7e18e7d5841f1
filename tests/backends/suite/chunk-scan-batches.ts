import { describe, test } from 'vitest';
import { PAD_SLOT_ID } from '../../../src/backends/contract/sequences.ts';
import { grid, runs } from '../../runs.ts';
import { type Demands, expectAgreement, expectClose, expectSame, type MakeBackend, useBackend } from './harness.ts';
import { Inputs } from './inputs.ts';
import { type Sequence, spans, totalLength } from './sequences.ts';
import {
  checkScan,
  concatInputs,
  expectedResult,
  randomInputs,
  type StateSpaceInputs,
  scan,
  sliceInputs,
  spoilUnread,
} from './state-space-problem.ts';

/**
 * Tests {@link StateSpaceOps.mambaChunkScan} on packed batches. Cases: vLLM `tests/kernels/mamba/test_mamba_ssm_ssd.py`
 * (cont_batch, prefill_chunking) and state-spaces/mamba `tests/ops/triton/test_ssd.py` (chunk_state_varlen).
 */
export function describeChunkScanBatches(makeBackend: MakeBackend, demands: Demands): void {
  describe('mambaChunkScan, packed batches', () => {
    const backend = useBackend(makeBackend);
    const tolerance = demands.tolerances.stateSpace;

    // fullLength tokens of each example; then, step by step, how many tokens of each come next. An exhausted example
    // starts again from nothing. The last case is the one on which the kernels of vLLM 0.9.2 decay initial states wrong.
    const continuous: readonly { fullLength: number; chunkSize: number; steps: readonly (readonly number[])[] }[] = [
      { fullLength: 64, chunkSize: 8, steps: repeated([64, 32], 2) },
      { fullLength: 64, chunkSize: 8, steps: repeated([32, 32], 3) },
      { fullLength: 64, chunkSize: 8, steps: repeated([8, 8], 3) },
      { fullLength: 64, chunkSize: 8, steps: repeated([4, 4], 4) },
      {
        fullLength: 64,
        chunkSize: 8,
        steps: [
          [64, 32, 16, 8, 8],
          [8, 16, 32, 16, 8],
          [8, 8, 16, 32, 16],
        ],
      },
      {
        fullLength: 64,
        chunkSize: 29,
        steps: [
          [11, 4],
          [13, 23],
          [19, 22],
          [21, 15],
        ],
      },
      { fullLength: 64, chunkSize: 256, steps: [[5], [1], [1], [1]] },
      {
        fullLength: 64,
        chunkSize: 256,
        steps: [
          [5, 30],
          [1, 2],
          [1, 2],
          [1, 2],
        ],
      },
      { fullLength: 768, chunkSize: 128, steps: repeated([138, 225], 2) },
    ];
    const continuousSizes = [4, 8, 13].flatMap((heads) => [5, 16, 21, 32].map((dim) => ({ heads, dim })));
    test.each(grid(continuous.flatMap((batch) => continuousSizes.map((size) => ({ ...batch, ...size })))))(
      'steps $steps of $fullLength tokens by $chunkSize, $heads heads of $dim',
      async ({ fullLength, chunkSize, steps, heads, dim }) => {
        const inputs = new Inputs(0);
        const size = { heads, headDim: dim, stateSize: dim, groups: heads };
        const slotSize = heads * dim * dim;
        const A = inputs.decayRates(heads);
        const examples = steps[0].map(() => ({ ...randomInputs(inputs, size, fullLength), A }));
        const taken = examples.map(() => 0);
        let states = inputs.normal(examples.length * slotSize);
        let exact: Float64Array[] = examples.map(() => new Float64Array(slotSize));
        for (const lengths of steps) {
          const parts = examples.map((example, i) => sliceInputs(example, taken[i], taken[i] + lengths[i]));
          const sequences = lengths.map((length, slot) => ({ length, slot, hasInitialState: taken[slot] > 0 }));
          const result = await scan(backend(), concatInputs(parts), sequences, states, chunkSize);
          const expected = parts.map((part, i) => expectedResult(part, taken[i] > 0 ? exact[i] : undefined));
          for (const { begin, end, slot } of spans(sequences)) {
            const y = result.y.subarray(begin * heads * dim, end * heads * dim);
            expectClose(y, expected[slot].y, tolerance, `y of example ${slot}`);
            const state = result.states.subarray(slot * slotSize, (slot + 1) * slotSize);
            expectClose(state, expected[slot].state, tolerance, `state of example ${slot}`);
            taken[slot] = (taken[slot] + lengths[slot]) % fullLength;
          }
          states = result.states;
          exact = expected.map(({ state }) => state);
        }
      },
    );

    test.each(
      grid(
        [8, 256].flatMap((chunkSize) =>
          [
            [270, 88, 212, 203],
            [16, 20],
          ].map((lengths) => ({ chunkSize, lengths })),
        ),
      ),
    )('prompts of $lengths tokens, each split in two, by $chunkSize', async ({ chunkSize, lengths }) => {
      const [H, P] = [16, 64];
      const slotSize = H * P * P;
      const inputs = new Inputs(1);
      const whole = randomInputs(inputs, { heads: H, headDim: P, stateSize: P, groups: H }, totalOf(lengths));
      const sequences = lengths.map((length, slot) => ({ length, slot, hasInitialState: false }));
      const stale = new Float32Array(lengths.length * slotSize).fill(-3);
      const unsplit = await checkScan(backend(), whole, sequences, stale, chunkSize, demands);

      const halves = spans(sequences).map(({ begin, end }) => [begin, begin + Math.floor((end - begin) / 2), end]);
      const part = (half: number) => concatInputs(halves.map((cuts) => sliceInputs(whole, cuts[half], cuts[half + 1])));
      const batch = (half: number) =>
        halves.map((cuts, slot) => ({ length: cuts[half + 1] - cuts[half], slot, hasInitialState: half > 0 }));
      const first = await scan(backend(), part(0), batch(0), stale, chunkSize);
      const second = await scan(backend(), part(1), batch(1), first.states, chunkSize);
      expectAgreement(second.states, unsplit.states, demands, tolerance, 'states');
      for (const [half, result] of [first, second].entries()) {
        for (const { begin, end, slot } of spans(batch(half))) {
          const from = halves[slot][half] * H * P;
          const y = result.y.subarray(begin * H * P, end * H * P);
          const unsplitY = unsplit.y.subarray(from, from + y.length);
          expectAgreement(y, unsplitY, demands, tolerance, `half ${half} of prompt ${slot}`);
        }
      }
    });

    const numSequences = runs(300);
    test.each(grid([64, 128].flatMap((chunkSize) => [1, 2, 8, 16].map((groups) => ({ chunkSize, groups })))))(
      `states of ${numSequences} sequences of 1 to 199 tokens by $chunkSize, 16 heads in $groups groups`,
      async ({ chunkSize, groups }) => {
        const size = { heads: 16, headDim: 3, stateSize: 4, groups };
        const inputs = new Inputs(groups);
        const slots = inputs.distinct(numSequences, numSequences + 10);
        const sequences = slots.map((slot) => ({ length: inputs.integer(1, 199), slot, hasInitialState: false }));
        const states = inputs.normal((numSequences + 10) * 16 * 3 * 4);
        spoilUnread(states, 16 * 3 * 4, sequences);
        const problem = randomInputs(inputs, size, totalLength(sequences));
        await checkScan(backend(), problem, sequences, states, chunkSize, demands);
      },
    );

    // Initial states of sequences that begin inside a chunk and go on into the next (vLLM #21783, #23279).
    const boundaries = [
      { lengths: [40, 100], chunkSize: 64 },
      { lengths: [138, 225], chunkSize: 128 },
      { lengths: [64, 64, 1, 63, 65], chunkSize: 64 },
      { lengths: [1, 1, 1, 200], chunkSize: 32 },
    ];
    test.each(boundaries)('random initial states of $lengths tokens by $chunkSize', async ({ lengths, chunkSize }) => {
      const size = { heads: 8, headDim: 16, stateSize: 16, groups: 2 };
      const slotSize = 8 * 16 * 16;
      const inputs = new Inputs(chunkSize);
      const slots = inputs.distinct(lengths.length, 9);
      for (const initial of [() => true, (b: number) => b % 2 === 1, (b: number) => b % 2 === 0]) {
        const sequences = lengths.map((length, b) => ({ length, slot: slots[b], hasInitialState: initial(b) }));
        const states = inputs.normal(9 * slotSize);
        const problem = {
          ...randomInputs(inputs, size, totalOf(lengths)),
          D: inputs.normal(8),
          dtBias: inputs.normal(8),
        };
        await checkScan(backend(), problem, sequences, states, chunkSize, demands);
      }
    });

    test('padded sequences leave no trace', async () => {
      const size = { heads: 4, headDim: 8, stateSize: 8, groups: 1 };
      const inputs = new Inputs(3);
      const real: Sequence[] = [30, 7, 50].map((length, slot) => ({ length, slot, hasInitialState: slot === 1 }));
      const padding: Sequence = { length: 13, slot: PAD_SLOT_ID, hasInitialState: true };
      const batch = [padding, real[0], real[1], padding, real[2], padding];
      const A = inputs.decayRates(4);
      const make = ({ length }: Sequence): StateSpaceInputs => ({ ...randomInputs(inputs, size, length), A });
      const parts = batch.map(make);
      const states = inputs.normal(3 * 4 * 8 * 8);
      const padded = await checkScan(backend(), concatInputs(parts), batch, states, 16, demands);
      const kept = parts.filter((_, i) => batch[i] !== padding);
      const bare = await checkScan(backend(), concatInputs(kept), real, states, 16, demands);
      if (demands.bitExact) expectSame(padded.states, bare.states, 'states');
    });
  });
}

function repeated<T>(item: T, times: number): T[] {
  return Array.from({ length: times }, () => item);
}

function totalOf(lengths: readonly number[]): number {
  return lengths.reduce((sum, length) => sum + length, 0);
}

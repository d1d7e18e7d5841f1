import fc from 'fast-check';
import type { BatchOrder } from '../../src/layers/mamba/mamba2-metadata.ts';
import type { MixerCase } from './mixer-case.ts';

/** Any small mixer. */
export const anyMixerCase: fc.Arbitrary<MixerCase> = fc
  .record({
    hiddenSize: fc.integer({ min: 1, max: 9 }),
    headsPerGroup: fc.integer({ min: 1, max: 3 }),
    headDim: fc.integer({ min: 1, max: 5 }),
    stateSize: fc.integer({ min: 1, max: 6 }),
    nGroups: fc.integer({ min: 1, max: 3 }),
    convKernel: fc.integer({ min: 1, max: 5 }),
    chunkSize: fc.integer({ min: 1, max: 9 }),
    useConvBias: fc.boolean(),
    useBias: fc.boolean(),
    useRmsNorm: fc.boolean(),
    useMup: fc.boolean(),
    activation: fc.constantFrom('silu' as const, 'identity' as const),
    timeStepLimit: fc.constantFrom(undefined, [0.05, 0.4] as const, [0.2, Number.POSITIVE_INFINITY] as const),
    seed: fc.nat(1000),
  })
  .map(({ headsPerGroup, ...rest }) => ({ ...rest, numHeads: rest.nGroups * headsPerGroup }));

/** One sequence's way through the rounds of a schedule: how many tokens it gets in each. */
export interface ScheduledPrompt {
  readonly pieces: readonly number[];
}

/** Several sequences over several rounds; in each round some get nothing, one token, or many. */
export interface Schedule {
  readonly prompts: readonly ScheduledPrompt[];
  /** One per round. */
  readonly orders: readonly BatchOrder[];
  /** Whether a padding sequence of some tokens goes first in every round, and a padded decode. */
  readonly padded: boolean;
  /** Seed for slots, tokens and the order of the sequences in a round. */
  readonly seed: number;
}

const ROUNDS = 4;

export const anySchedule: fc.Arbitrary<Schedule> = fc.record({
  prompts: fc.array(
    fc.record({
      pieces: fc.array(fc.constantFrom(0, 1, 1, 1, 2, 3, 5), { minLength: ROUNDS, maxLength: ROUNDS }),
    }),
    { minLength: 1, maxLength: 4 },
  ),
  orders: fc.array(fc.constantFrom<BatchOrder>('decode-first', 'prefill-first'), {
    minLength: ROUNDS,
    maxLength: ROUNDS,
  }),
  padded: fc.boolean(),
  seed: fc.nat(1000),
});

import { assert, describe, expect, test } from 'vitest';
import type { Backend } from '../../../src/backends/contract/backend.ts';
import { LAST_SAMPLED, type SampledRow, samplingInputs } from '../../../src/backends/contract/sampling.ts';
import { stepTensors } from '../../../src/backends/contract/steps.ts';
import { logSumExp, Sampler } from '../../../src/engine/sample/sampler.ts';
import { type GenerateOptions, resolveSamplingParams } from '../../../src/engine/sample/sampling-params.ts';
import { bitsOf, hasBit, keepAllowed } from '../../../src/grammar/token-bits.ts';
import { few } from '../../runs.ts';
import { type MakeBackend, useBackend } from './harness.ts';

const SLOTS = 40;

/** Tests that a backend chooses the tokens that the engine's sampler chooses. */
export function describeSampling(makeBackend: MakeBackend): void {
  describe('choosing tokens', () => describeChoices(useBackend(makeBackend)));
}

function describeChoices(made: () => Backend): void {
  const sampling = () => {
    const { sampling } = made();
    assert(sampling !== undefined, 'The backend chooses no tokens.');
    return sampling;
  };

  /** Tokens and logprobs of the rows, and what is kept at the slots. */
  async function choose(logits: readonly Float32Array[], rows: readonly SampledRow[]) {
    const [width] = logits.map(({ length }) => length);
    const flat = new Float32Array(logits.length * width);
    for (const [i, row] of logits.entries()) flat.set(row, i * width);
    const sampled = made().zeros([SLOTS]);
    const read = made().scope(() => {
      const inputs = stepTensors(samplingInputs(rows), (values) => made().tensor(values, [values.length]));
      const x = made().tensor(flat, [logits.length, width]);
      return made().read(sampling().sampleTokens(x, inputs, sampled));
    });
    const values = await read;
    const kept = await made().read(sampled);
    return logits.map((_, i) => ({
      tokenId: values[2 * i],
      logprob: values[2 * i + 1],
      kept: kept[rows[i].slot],
    }));
  }

  function sampler(options: GenerateOptions, endTokenIds: readonly number[] = []): Sampler {
    const constraints = {
      promptTokenIds: new Set([0, 3, 3, 1]),
      endTokenIds: new Set(endTokenIds),
      badWordsTokenIds: [[2]],
    };
    return new Sampler(resolveSamplingParams(options, {}), constraints);
  }

  const kinds: Record<string, GenerateOptions> = {
    greedy: { temperature: 0 },
    temperature: { temperature: 0.8 },
    'a temperature that float32 can hardly hold': { temperature: 1e38 },
    'a temperature that float32 does not have': { temperature: 1e300, minP: 0.5 },
    'a repetition penalty that float32 does not have': { repetitionPenalty: 1e39 },
    'top-k': { topK: 7 },
    'top-k of more than there are': { topK: 1e6 },
    'top-p': { topP: 0.9 },
    'top-p of little': { topP: 1e-6 },
    'top-p of nothing in float32': { topP: 1e-50 },
    'min-p': { minP: 0.05 },
    'min-p of the likeliest': { minP: 1 },
    'all of them': { temperature: 1.3, topK: 40, topP: 0.8, minP: 0.01 },
    penalties: { temperature: 0.9, repetitionPenalty: 1.3, frequencyPenalty: 0.4, presencePenalty: 0.2 },
    'greedy with a bias': { temperature: 0, logitBias: { 1: 100, 4: -3 }, repetitionPenalty: 20 },
  };
  // What logits differ by: as usual, little, and much.
  const spreads = few([3, 1, 30]);

  for (const vocabSize of [5, 4099]) {
    test.each(Object.keys(kinds))(`of ${vocabSize}, chooses what the engine's sampler chooses: %s`, async (kind) => {
      for (const spread of spreads) {
        const logits = Array.from({ length: 20 }, (_, i) => noise(vocabSize, i, spread));
        const [host, device] = [0, 1].map(() => logits.map((_, seed) => sampler({ ...kinds[kind], seed })));
        // Some tokens in the answer, for the penalties.
        for (const each of [...host, ...device]) for (const tokenId of [1, 1, 4]) each.accept(tokenId, 0);
        const expected = host.map((each, i) => each.sample(logits[i]));
        const found = await choose(
          logits,
          device.map((each, slot) => ({ ...each.tokenSampling(), slot })),
        );
        const same = found.filter(({ tokenId }, i) => tokenId === expected[i].tokenId);
        // A draw next to the edge between two tokens may fall on the other side of it.
        expect(same.length).toBeGreaterThanOrEqual(19);
        for (const [i, { tokenId, logprob, kept }] of found.entries()) {
          expect(kept).toBe(tokenId);
          if (tokenId === expected[i].tokenId) expect(logprob).toBeCloseTo(expected[i].logprob, 3);
        }
      }
    });
  }

  test.each([
    [5, { temperature: 0 }],
    [5, { topP: 0.9 }],
    [4099, { temperature: 0.8, logitBias: { 7: 5 } }],
    [4099, { temperature: 1.3, topK: 40, topP: 0.8 }],
  ])('of %d, chooses only tokens that the row allows: %j', async (vocabSize, options) => {
    const logits = Array.from({ length: 20 }, (_, i) => noise(vocabSize, i, 3));
    const masks = logits.map((_, i) =>
      i % 4 === 3 ? undefined : bitsOf(tokensOf(vocabSize, i), Math.ceil(vocabSize / 32)),
    );
    const expected = logits.map((row, seed) => {
      const masked = row.slice();
      const mask = masks[seed];
      if (mask) keepAllowed(masked, row, mask);
      const { tokenId } = sampler({ ...options, seed }).sample(masked);
      return { tokenId, logprob: row[tokenId] - logSumExp(row) };
    });
    const rows = logits.map((_, seed) => ({
      ...sampler({ ...options, seed }).tokenSampling(),
      allowed: masks[seed],
      slot: seed,
    }));
    const found = await choose(logits, rows);
    const same = found.filter(({ tokenId }, i) => tokenId === expected[i].tokenId);
    expect(same.length).toBeGreaterThanOrEqual(19);
    for (const [i, { tokenId, logprob }] of found.entries()) {
      const mask = masks[i];
      if (mask) expect(hasBit(mask, tokenId)).toBe(true);
      if (tokenId === expected[i].tokenId) expect(logprob).toBeCloseTo(expected[i].logprob, 3);
    }
  });

  test('a token that ends the sequence is kept as -1, and its slot is not computed for any more', async () => {
    const logits = [noise(50, 1, 1), noise(50, 2, 1), noise(50, 3, 1)];
    for (const [i, row] of logits.entries()) row[10 + i] = 50;
    const ends = [[10], [1, 2, 3, 4, 5, 6, 11], [13]];
    const rows = ends.map((endTokenIds, i) => ({
      ...sampler({ temperature: 0 }, endTokenIds).tokenSampling(),
      slot: 2 * i,
    }));
    const found = await choose(logits, rows);
    expect(found.map(({ tokenId }) => tokenId)).toEqual([10, 11, 12]);
    expect(found.map(({ kept }) => kept)).toEqual([-1, -1, 12]);
  });

  test('takes the sampled tokens for those that the host does not know', async () => {
    const sampled = made().tensor(Float32Array.of(0, 7, -1, 9), [4]);
    const table = made().linearWeight(
      Float32Array.from({ length: 20 }, (_, i) => i),
      20,
      1,
      'float32',
    );
    const read = made().scope(() => {
      const vector = (...values: number[]) => made().tensor(Int32Array.from(values), [values.length]);
      const taken = sampling().takeSampled(
        vector(LAST_SAMPLED, 5, LAST_SAMPLED, LAST_SAMPLED),
        vector(1, 3, 2, 3),
        sampled,
      );
      return Promise.all([taken.tokenIds, taken.slots].map((ids) => made().read(made().embedding(ids, table))));
    });
    const [tokenIds, slots] = await read;
    expect([...tokenIds]).toEqual([7, 5, 0, 9]);
    expect([...slots]).toEqual([1, 3, 0, 3]);
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY])('logits with %d give -1, and no row but theirs', async (bad) => {
    const logits = [noise(3000, 1, 1), noise(3000, 2, 1), new Float32Array(3000).fill(Number.NEGATIVE_INFINITY)];
    logits[1][2999] = bad;
    const rows = logits.map((_, slot) => ({ ...sampler({ seed: 1 }).tokenSampling(), slot }));
    const found = await choose(logits, rows);
    expect(found.map(({ tokenId }) => tokenId >= 0)).toEqual([true, false, false]);
  });

  test('logits of -infinity are never chosen', async () => {
    const logits = new Float32Array(300).fill(Number.NEGATIVE_INFINITY);
    logits[200] = -5;
    const [{ tokenId, logprob }] = await choose([logits], [{ ...sampler({ seed: 3 }).tokenSampling(), slot: 0 }]);
    expect([tokenId, logprob]).toEqual([200, 0]);
  });
}

/** Few tokens of a vocabulary, of which the last may be the only ones. */
function tokensOf(vocabSize: number, seed: number): number[] {
  return Array.from({ length: seed % 3 === 0 ? 1 : 9 }, (_, i) => vocabSize - 1 - ((i * 37 * (seed + 1)) % vocabSize));
}

function noise(length: number, seed: number, spread: number): Float32Array {
  let state = Math.imul(seed + 1, 0x9e3779b1);
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return spread * ((state >>> 8) / 2 ** 23 - 1);
  });
}

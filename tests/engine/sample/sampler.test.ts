import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { LogitsConstraints } from '../../../src/engine/sample/logits-editor.ts';
import { Sampler } from '../../../src/engine/sample/sampler.ts';
import { type GenerateOptions, resolveSamplingParams } from '../../../src/engine/sample/sampling-params.ts';
import { NonFiniteLogitsError, SamplingParamsError } from '../../../src/errors.ts';
import { runs } from '../../runs.ts';

function sampler(
  options: GenerateOptions,
  promptTokenIds: readonly number[] = [],
  constraints: Partial<LogitsConstraints> = {},
): Sampler {
  const none = { promptTokenIds: new Set(promptTokenIds), endTokenIds: new Set<number>(), badWordsTokenIds: [] };
  return new Sampler(resolveSamplingParams({ seed: 1, ...options }, {}), { ...none, ...constraints });
}

/** How often each id comes in many draws. */
function frequencies(options: GenerateOptions, logits: Float32Array, draws = 4000): number[] {
  const counts = new Array<number>(logits.length).fill(0);
  const source = sampler(options);
  for (let i = 0; i < draws; i++) counts[source.sample(logits).tokenId]++;
  return counts.map((count) => count / draws);
}

const logits = Float32Array.from([1, 3, 2, 0, -1]);
const probabilities = (values: Float32Array, temperature = 1) => {
  const weights = Array.from(values, (v) => Math.exp(v / temperature));
  const total = weights.reduce((sum, w) => sum + w, 0);
  return weights.map((w) => w / total);
};

describe('choosing a token', () => {
  test('temperature 0 takes the likeliest, the lower id of equals', () => {
    expect(sampler({ temperature: 0 }).sample(logits).tokenId).toBe(1);
    expect(sampler({ temperature: 0 }).sample(Float32Array.from([0, 5, 5])).tokenId).toBe(1);
    for (const temperature of [5e-324, 1e-7, 1e-4]) expect(sampler({ temperature }).sample(logits).tokenId).toBe(1);
  });

  test.each([5e-324, 1e-38, 1e308])('a repetition penalty of %d makes no infinities', (repetitionPenalty) => {
    for (const temperature of [0, 1]) {
      const { tokenId } = sampler({ temperature, repetitionPenalty }, [0, 1, 2, 3, 4]).sample(logits);
      expect(tokenId).toBeLessThan(4);
    }
  });

  test('logprob is the log-softmax of the raw logits, whatever is sampled', () => {
    const { tokenId, logprob } = sampler({ temperature: 0.3, repetitionPenalty: 1.5 }, [1]).sample(logits);
    expect(logprob).toBeCloseTo(Math.log(probabilities(logits)[tokenId]), 6);
  });

  test.each([0.5, 1, 2])('draws follow the softmax at temperature %d', (temperature) => {
    const expected = probabilities(logits, temperature);
    for (const [id, f] of frequencies({ temperature }, logits).entries()) {
      expect(Math.abs(f - expected[id])).toBeLessThan(0.03);
    }
  });

  test('top-k keeps the k likeliest in their proportions', () => {
    const found = frequencies({ topK: 2 }, logits);
    expect(found[1]).toBeCloseTo(Math.exp(3) / (Math.exp(3) + Math.exp(2)), 1);
    expect(found[0] + found[3] + found[4]).toBe(0);
  });

  test('top-p keeps the fewest likeliest tokens that hold the mass', () => {
    // Softmax is about 0.086, 0.636, 0.234, 0.032, 0.012.
    expect(frequencies({ topP: 0.6 }, logits).filter((f) => f > 0)).toHaveLength(1);
    expect(frequencies({ topP: 0.64 }, logits).filter((f) => f > 0)).toHaveLength(2);
    expect(frequencies({ topP: 0.95 }, logits).filter((f) => f > 0)).toHaveLength(3);
  });

  test('min-p drops tokens below its share of the likeliest', () => {
    expect(frequencies({ minP: 0.3 }, logits).map((f) => f > 0)).toEqual([false, true, true, false, false]);
  });

  test('the repetition penalty divides positive and multiplies negative logits of prompt and answer', () => {
    const greedy = sampler({ temperature: 0, repetitionPenalty: 2 }, [1]);
    expect([greedy.sample(logits).tokenId, greedy.sample(logits).tokenId]).toEqual([2, 1]);
    expect(sampler({ temperature: 0, repetitionPenalty: 2 }, [0]).sample(Float32Array.from([-1, -1.5])).tokenId).toBe(
      1,
    );
  });

  test('presence and frequency penalties count the answer, not the prompt', () => {
    const flat = Float32Array.from([0, 0.5, 0.4, 0.1]);
    const draws = (options: GenerateOptions) => {
      const source = sampler({ temperature: 0, ...options }, [1, 1, 1]);
      return Array.from({ length: 5 }, () => source.sample(flat).tokenId);
    };
    expect(draws({ presencePenalty: 0.2 })).toEqual([1, 2, 1, 1, 1]);
    expect(draws({ frequencyPenalty: 0.2 })).toEqual([1, 2, 1, 2, 1]);
    expect(draws({ presencePenalty: -1 })).toEqual([1, 1, 1, 1, 1]);
  });

  test('a bias is added, and one of -100 all but forbids', () => {
    expect(sampler({ temperature: 0, logitBias: { 3: 3.5 } }).sample(logits).tokenId).toBe(3);
    expect(sampler({ temperature: 0, logitBias: new Map([[1, -100]]) }).sample(logits).tokenId).toBe(2);
    expect(frequencies({ logitBias: { 1: -100 } }, logits)[1]).toBe(0);
  });

  test('what ends the answer has to wait for the least number of tokens', () => {
    const source = sampler({ temperature: 0, minTokens: 2 }, [], { endTokenIds: new Set([1]) });
    expect(Array.from({ length: 4 }, () => source.sample(logits).tokenId)).toEqual([2, 2, 1, 1]);
  });

  test('the last token of a bad word does not follow the others', () => {
    const badWordsTokenIds = [[1, 1], [3], [2, 0, 4]];
    const source = sampler({ temperature: 0 }, [], { badWordsTokenIds });
    expect(Array.from({ length: 4 }, () => source.sample(logits).tokenId)).toEqual([1, 2, 1, 2]);
    const property = fc.property(fc.integer(), (seed) => {
      const drawing = sampler({ seed }, [], { badWordsTokenIds });
      const text = Array.from({ length: 30 }, () => drawing.sample(logits).tokenId).join('');
      expect(text).not.toMatch(/11|3|204/);
    });
    fc.assert(property, { numRuns: runs(50), seed: 1 });
  });

  test('top logprobs are the likeliest tokens of the raw logits, lower ids of equals first', () => {
    const { topLogprobs } = sampler({ logprobs: 3, temperature: 0, logitBias: { 4: 100 } }).sample(logits);
    expect(topLogprobs?.map(({ tokenId }) => tokenId)).toEqual([1, 2, 0]);
    expect(topLogprobs?.[0].logprob).toBeCloseTo(Math.log(probabilities(logits)[1]), 6);
    const ties = sampler({ logprobs: 2, temperature: 0 }).sample(Float32Array.from([1, 5, 5, 5]));
    expect(ties.topLogprobs?.map(({ tokenId }) => tokenId)).toEqual([1, 2]);
    expect(sampler({ logprobs: 0 }).sample(logits).topLogprobs).toEqual([]);
    expect(sampler({ logprobs: 9 }).sample(logits).topLogprobs).toHaveLength(5);
  });

  test('the same seed draws the same, another seed something else', () => {
    const flat = new Float32Array(1000);
    const draw = (seed: number | bigint) => {
      const source = sampler({ seed });
      return Array.from({ length: 8 }, () => source.sample(flat).tokenId);
    };
    expect(draw(5)).toEqual(draw(5));
    expect(draw(5)).not.toEqual(draw(6));
    expect(draw(5n)).toEqual(draw(5));
    expect(draw(2n ** 53n)).not.toEqual(draw(2n ** 53n + 1n));
    expect(draw(-(2n ** 63n))).toEqual(draw(-(2n ** 63n)));
  });

  test('-1, like no seed, is another one each time', () => {
    for (const options of [{ seed: -1 }, { seed: -1n }, {}]) {
      const seeds = Array.from({ length: 3 }, () => resolveSamplingParams(options, {}).seed);
      expect(new Set(seeds).size).toBe(3);
      for (const seed of seeds) expect(BigInt.asIntN(64, seed)).toBe(seed);
    }
  });

  test('top-p and top-k on a large vocabulary equal a full sort', () => {
    const property = fc.property(
      fc.infiniteStream(fc.float({ min: -30, max: 10, noNaN: true })),
      fc.integer({ min: 0, max: 50 }),
      fc.double({ min: 0.05, max: 1, noNaN: true }),
      fc.integer(),
      (stream, topK, topP, seed) => {
        const values = Float32Array.from({ length: 300 }, () => Number(stream.next().value));
        const { tokenId } = sampler({ topK, topP, seed }).sample(values);
        const p = probabilities(values);
        const order = p.map((_, id) => id).sort((a, b) => p[b] - p[a] || a - b);
        const first = order.slice(0, topK === 0 ? order.length : topK);
        const mass = first.reduce((sum, id) => sum + p[id], 0);
        let before = 0;
        const kept = first.filter((id) => {
          const keep = before < topP * mass + 1e-9;
          before += p[id];
          return keep;
        });
        expect(kept).toContain(tokenId);
      },
    );
    fc.assert(property, { numRuns: runs(100), seed: 7 });
  });

  test('logits that are not numbers are an error, not a token', () => {
    for (const bad of [
      [Number.NaN, 1],
      [1, Number.NaN],
      [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY],
    ]) {
      expect(() => sampler({}).sample(Float32Array.from(bad))).toThrow(NonFiniteLogitsError);
    }
    expect(sampler({}).sample(Float32Array.from([Number.NEGATIVE_INFINITY, 1])).tokenId).toBe(1);
  });
});

describe('instructions for places after guesses', () => {
  const anyOptions = fc.record({
    temperature: fc.constantFrom(0, 0.7),
    repetitionPenalty: fc.constantFrom(1, 1.3),
    frequencyPenalty: fc.constantFrom(0, 0.5),
    presencePenalty: fc.constantFrom(0, 0.25),
    minTokens: fc.integer({ min: 0, max: 6 }),
  });
  const anyTokens = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 6 });

  test('are those that the places get once the guesses are the answer', () => {
    const constraints = { endTokenIds: new Set([4]), badWordsTokenIds: [[2], [1, 3], [0, 0, 1]] };
    const property = fc.property(anyOptions, anyTokens, anyTokens, (options, begun, guessed) => {
      const [one, other] = [0, 1].map(() => sampler(options, [1, 2], constraints));
      for (const source of [one, other]) for (const tokenId of begun) source.take(tokenId, logits);
      const foretold = Array.from({ length: guessed.length + 1 }, (_, i) => one.tokenSampling(guessed.slice(0, i)));
      const told = [...guessed, 0].map((tokenId) => {
        const instructions = other.tokenSampling();
        other.accept(tokenId, 0);
        return instructions;
      });
      const byId = ({ edits, ...rest }: (typeof told)[number]) => ({
        ...rest,
        edits: edits.toSorted((a, b) => a.tokenId - b.tokenId),
      });
      expect(foretold.map(byId)).toEqual(told.map(byId));
    });
    fc.assert(property, { numRuns: runs(200), seed: 1 });
  });

  test('give their draws back where a guess was wrong', () => {
    const [one, other] = [sampler({}), sampler({})];
    const draws = [[], [7], [7, 8]].map((ahead) => one.tokenSampling(ahead).u);
    one.accept(7, 0);
    one.accept(9, 0);
    one.takeBackDraws();
    expect([0, 1, 2].map(() => other.tokenSampling().u)).toEqual(draws);
    expect(one.tokenSampling().u).toBe(draws[2]);
  });

  test('are not known where a form, a processor, or a bad word among few tokens decides', () => {
    const allowed = Int32Array.of(0b11);
    expect(sampler({ repetitionPenalty: 2 }, [], { badWordsTokenIds: [[1, 2]] }).canForetell).toBe(true);
    expect(sampler({}, [], { allowed, badWordsTokenIds: [[1]] }).canForetell).toBe(true);
    expect(sampler({}, [], { allowed, badWordsTokenIds: [[1, 2]] }).canForetell).toBe(false);
    expect(sampler({ logitsProcessors: [() => {}] }).canForetell).toBe(false);
  });
});

describe('sampling parameters', () => {
  test.each<[GenerateOptions, RegExp]>([
    [{ maxTokens: 0 }, /maxTokens is 0; expected an integer at least 1/],
    [{ maxTokens: 1.5 }, /maxTokens is 1.5/],
    [{ temperature: -1 }, /temperature is -1; expected a number at least 0/],
    [{ temperature: Number.NaN }, /temperature is NaN/],
    [{ topP: 0 }, /topP is 0; expected a number above 0 and at most 1/],
    [{ topP: 1.1 }, /topP/],
    [{ topK: -2 }, /topK/],
    [{ minP: 2 }, /minP/],
    [{ repetitionPenalty: 0 }, /repetitionPenalty/],
    [{ seed: 0.5 }, /seed is 0.5; expected an integer of 64 bits/],
    [{ seed: Number.NaN }, /seed is NaN/],
    [{ seed: 2 ** 63 }, /seed is 9223372036854775808; expected/],
    [{ seed: 2n ** 63n }, /seed is 9223372036854775808; expected/],
    [{ seed: -(2n ** 63n) - 1n }, /seed is -9223372036854775809/],
    ...['1.5', ' 1', '1 ', '0x10', '1e3', '-1', '+1', '01', '\u0661', '', 'a', '9007199254740993'].map(
      (id): [GenerateOptions, RegExp] => [{ logitBias: JSON.parse(`{"${id}":1}`) }, /logitBias has the key '/],
    ),
    ...[1.5, Number.NaN, Number.POSITIVE_INFINITY, -1, ' 1', ''].map((id): [GenerateOptions, RegExp] => [
      { logitBias: new Map([[id as number, 1]]) },
      /logitBias has the key .*expected token ids/,
    ]),
    [{ presencePenalty: 3 }, /presencePenalty is 3; expected a number at least -2 and at most 2/],
    [{ frequencyPenalty: -2.1 }, /frequencyPenalty/],
    [{ logitBias: { 5: 101 } }, /logitBias is 101/],
    [{ n: 0 }, /n is 0/],
    [{ n: 1e9 }, /n is 1000000000; expected an integer at least 1 and at most 128/],
    [{ logprobs: 21 }, /logprobs is 21; expected an integer at least 0 and at most 20/],
    [{ minTokens: -1 }, /minTokens is -1/],
    [{ minTokens: 5, maxTokens: 4 }, /minTokens is 5; expected an integer at least 0 and at most 4/],
    [{ logprobs: -1 }, /logprobs is -1/],
    [{ promptLogprobs: 1.5 }, /promptLogprobs/],
    [{ badWords: [''] }, /^badWords has an empty text/],
    [{ stop: '' }, /^stop has an empty text/],
    [{ stop: ['a', ''] }, /^stop has an empty text/],
  ])('$0 is refused', (options, message) => {
    expect(() => resolveSamplingParams(options, {})).toThrow(SamplingParamsError);
    expect(() => resolveSamplingParams(options, {})).toThrow(message);
    const [param] = Object.keys(options);
    expect(() => resolveSamplingParams(options, {})).toThrow(expect.objectContaining({ param }));
  });

  test("a caller's values go before the model's, and those before vLLM's", () => {
    const params = resolveSamplingParams({ topP: 0.5 }, { topP: 0.9, temperature: 0.7 });
    expect(params).toMatchObject({ topP: 0.5, temperature: 0.7, topK: 0, minP: 0, repetitionPenalty: 1 });
  });
});

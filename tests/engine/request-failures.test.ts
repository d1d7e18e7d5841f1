import { describe, expect, test, vi } from 'vitest';
import { AsyncLLMEngine } from '../../src/engine/async-llm-engine.ts';
import type { EngineRequest } from '../../src/engine/engine-request.ts';
import type { StepOutput } from '../../src/engine/executor.ts';
import { SamplingParamsError } from '../../src/errors.ts';
import type { TextTokenizer } from '../../src/text/tokenizer.ts';
import { greedy, prompt, Rig } from './engine-rig.ts';
import { FAKE_VOCAB, FakeExecutor, fakeAnswer } from './fake-executor.ts';

/** A tokenizer whose decoding fails where a sequence has token 3 in it. */
const failing = {
  isVisible: () => true,
  decode: (ids: readonly number[]) => {
    if (ids.includes(3)) throw new RangeError('Invalid string length');
    return ids.map((id) => String.fromCharCode(97 + id)).join('');
  },
  encode: () => [1],
} as unknown as TextTokenizer;

/** Prompts of which one's answer has the token early, and one's does not. */
const answers = (wanted: boolean) =>
  Array.from({ length: 50 }, (_, seed) => prompt(4, seed)).filter(
    (tokenIds) =>
      !tokenIds.includes(3) &&
      fakeAnswer(tokenIds, 6).includes(3) === wanted &&
      fakeAnswer(tokenIds, 6).indexOf(3) !== 0,
  );

describe('what throws while tokens become text ends its request alone', () => {
  test('the detokenizer', async () => {
    const rig = new Rig({ tokenizer: failing });
    rig.add('bad', answers(true)[0], { maxTokens: 6 });
    rig.add('good', answers(false)[0], { maxTokens: 6 });
    await rig.finish();
    expect(rig.ended.get('bad')?.error).toBeInstanceOf(RangeError);
    expect(rig.ended.get('good')?.error).toBeUndefined();
    expect(rig.tokens.get('good')).toEqual([fakeAnswer(answers(false)[0], 6)]);
    rig.add('later', answers(false)[1], { maxTokens: 6 });
    await rig.finish();
    expect(rig.tokens.get('later')).toEqual([fakeAnswer(answers(false)[1], 6)]);
    expect(rig.engine.stats()).toMatchObject({ freeSlots: 3, finishedRequests: { error: 1, length: 2 } });
  });

  test('all answers of it, and no other request, in an engine for many callers', async () => {
    const executor = new FakeExecutor(4);
    const engine = new AsyncLLMEngine({
      executor,
      tokenizer: failing,
      eosTokenIds: [],
      vocabSize: FAKE_VOCAB,
      maxNumSeqs: 4,
      maxNumBatchedTokens: 16,
    });
    const ask = async (promptTokenIds: number[], n = 1) => {
      let count = 0;
      for await (const { outputs } of engine.addRequest({ promptTokenIds, params: greedy({ maxTokens: 6, n }) })) {
        for (const { tokens } of outputs) count += tokens.length;
      }
      return count;
    };
    const [bad, good] = await Promise.allSettled([ask(answers(true)[0], 2), ask(answers(false)[0])]);
    expect(bad).toMatchObject({ status: 'rejected', reason: expect.any(RangeError) });
    expect(good).toEqual({ status: 'fulfilled', value: 6 });
    expect(await ask(answers(false)[1], 2)).toBe(12);
    expect(engine.closed).toBeUndefined();
    engine.checkIntegrity();
  });

  test('the receiver of a final state: the state is released', async () => {
    const rig = new Rig();
    const onFinalState: EngineRequest['onFinalState'] = () => {
      throw new Error('no place for it');
    };
    rig.add('bad', prompt(5), { maxTokens: 3 }, { onFinalState });
    rig.add('good', prompt(5, 1), { maxTokens: 5 });
    await rig.finish();
    expect(rig.ended.get('bad')?.error?.message).toBe('no place for it');
    expect(rig.tokens.get('good')).toEqual([fakeAnswer(prompt(5, 1), 5)]);
    const { entries, bytes, maxBytes } = rig.engine.stats().prefixCache;
    expect(entries).toBeGreaterThan(0);
    expect(bytes).toBeLessThanOrEqual(maxBytes);
  });

  test('memory for a snapshot', async () => {
    const rig = new Rig({ vocabSize: FAKE_VOCAB });
    rig.add('bad', prompt(5), { maxTokens: 4 });
    await rig.step();
    const slice = vi.spyOn(Float32Array.prototype, 'slice').mockImplementation(() => {
      throw new RangeError('Array buffer allocation failed');
    });
    try {
      await rig.step();
    } finally {
      slice.mockRestore();
    }
    rig.add('good', prompt(5, 1), { maxTokens: 4 });
    await rig.finish();
    expect(rig.ended.get('bad')?.error).toBeInstanceOf(RangeError);
    expect(rig.tokens.get('good')).toEqual([fakeAnswer(prompt(5, 1), 4)]);
  });

  test('a listener to events ends nothing', async () => {
    const error = vi.spyOn(console, 'error').mockImplementation(() => {});
    const rig = new Rig();
    rig.engine.onEvent(() => {
      throw new Error('mine');
    });
    rig.add('a', [1], { maxTokens: 2 });
    await rig.finish();
    expect(rig.tokens.get('a')).toEqual([fakeAnswer([1], 2)]);
    expect(error).toHaveBeenCalled();
    error.mockRestore();
  });
});

test('a fault of the engine itself ends what runs, and it recovers as from that of a rank', async () => {
  const second = new FakeExecutor(1);
  const rig = new Rig({ maxNumSeqs: 1, reloadExecutor: async () => second });
  rig.add('runs', [1], { maxTokens: 5 });
  rig.add('waits', [2], { maxTokens: 3 });
  await rig.step();
  // An answer that no executor gives.
  rig.executor.execute = async () => undefined as unknown as StepOutput;
  await rig.finish();
  expect(rig.ended.get('runs')?.error).toBeInstanceOf(TypeError);
  expect(rig.tokens.get('waits')).toEqual([fakeAnswer([2], 3)]);
  expect(rig.engine.stats()).toMatchObject({ recoveries: 1, freeSlots: 1 });
});

describe('stop strings and their like have a limit', () => {
  test.each([
    [{ stop: new Array(200_000).fill('e') }, /stop has 200000 strings; expected at most 1024/],
    [{ stop: 'e'.repeat(70_000) }, /stop has 70000 characters; expected at most 65536/],
    [{ badWords: new Array(2000).fill('e') }, /badWords has 2000 strings/],
    [{ badWords: ['e'.repeat(70_000)] }, /badWords has 70000 characters/],
    [{ stopTokenIds: [0.5] }, /stopTokenIds's token id is 0.5/],
  ])('%#', (options, message) => {
    expect(() => greedy(options)).toThrow(SamplingParamsError);
    expect(() => greedy(options)).toThrow(message);
  });

  test('a list that the caller changes later changes nothing', () => {
    const stop = ['a'];
    const params = greedy({ stop });
    stop.push('b');
    expect(params.stop).toEqual(['a']);
  });
});

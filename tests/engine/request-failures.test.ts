import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { AsyncLLMEngine } from '../../src/engine/async-llm-engine.ts';
import type { EngineRequest } from '../../src/engine/request/engine-request.ts';
import { TextOutput } from '../../src/engine/request/text-output.ts';
import type { StepOutput } from '../../src/engine/run/executor.ts';
import { SamplingParamsError } from '../../src/errors.ts';
import { greedy, prompt, Rig } from './engine-rig.ts';
import { FAKE_VOCAB, FakeExecutor, fakeAnswer } from './fake-executor.ts';

/** Token 3 has no text: that throws. */
beforeEach(() => {
  const { push } = TextOutput.prototype;
  vi.spyOn(TextOutput.prototype, 'push').mockImplementation(function (this: TextOutput, tokenId) {
    if (tokenId === 3) throw new RangeError('Invalid string length');
    return push.call(this, tokenId);
  });
});
afterEach(() => {
  vi.restoreAllMocks();
});

/** Prompts whose answers have the token, though not first, and prompts whose answers do not have it. */
const prompts = Array.from({ length: 50 }, (_, seed) => prompt(4, seed));
const bad = (i: number) => prompts.filter((tokenIds) => fakeAnswer(tokenIds, 6).indexOf(3) > 0)[i];
const good = (i: number) => prompts.filter((tokenIds) => !fakeAnswer(tokenIds, 6).includes(3))[i];

describe('what throws while tokens become text ends its request alone', () => {
  test('its text', async () => {
    const rig = new Rig();
    rig.add('bad', bad(0), { maxTokens: 6 });
    rig.add('good', good(0), { maxTokens: 6 });
    await rig.finish();
    expect(rig.ended.get('bad')?.error).toBeInstanceOf(RangeError);
    expect(rig.ended.get('good')?.error).toBeUndefined();
    expect(rig.tokens.get('good')).toEqual([fakeAnswer(good(0), 6)]);
    rig.add('later', good(1), { maxTokens: 6 });
    await rig.finish();
    expect(rig.tokens.get('later')).toEqual([fakeAnswer(good(1), 6)]);
    expect(rig.engine.stats()).toMatchObject({ freeSlots: 3, finishedRequests: { error: 1, length: 2 } });
  });

  test('all answers of it, and no other request, in an engine for many callers', async () => {
    const executor = new FakeExecutor(4);
    const engine = new AsyncLLMEngine({
      executor,
      tokenizer: undefined,
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
    const [failed, answered] = await Promise.allSettled([ask(bad(0), 2), ask(good(0))]);
    expect(failed).toMatchObject({ status: 'rejected', reason: expect.any(RangeError) });
    expect(answered).toEqual({ status: 'fulfilled', value: 6 });
    expect(await ask(good(1), 2)).toBe(12);
    expect(engine.closed).toBeUndefined();
    engine.checkIntegrity();
  });

  test('the receiver of a final state: the state is released', async () => {
    const rig = new Rig();
    const onFinalState: EngineRequest['onFinalState'] = () => {
      throw new Error('no place for it');
    };
    rig.add('bad', good(0), { maxTokens: 3 }, { onFinalState });
    rig.add('good', good(1), { maxTokens: 5 });
    await rig.finish();
    expect(rig.ended.get('bad')?.error?.message).toBe('no place for it');
    expect(rig.tokens.get('good')).toEqual([fakeAnswer(good(1), 5)]);
    const { entries, bytes, maxBytes } = rig.engine.stats().prefixCache;
    expect(entries).toBeGreaterThan(0);
    expect(bytes).toBeLessThanOrEqual(maxBytes);
  });

  test('memory for a snapshot', async () => {
    const rig = new Rig({ snapshotInterval: 1 });
    rig.add('bad', good(0), { maxTokens: 6 });
    await rig.step();
    const slice = vi.spyOn(Float32Array.prototype, 'slice').mockImplementation(() => {
      throw new RangeError('Array buffer allocation failed');
    });
    try {
      await rig.step();
    } finally {
      slice.mockRestore();
    }
    rig.add('good', good(1), { maxTokens: 4 });
    await rig.finish();
    expect(rig.ended.get('bad')?.error).toBeInstanceOf(RangeError);
    expect(rig.tokens.get('good')).toEqual([fakeAnswer(good(1), 4)]);
  });

  test('a listener to events ends nothing', async () => {
    const error = vi.spyOn(console, 'error').mockImplementation(() => {});
    const rig = new Rig();
    rig.engine.onEvent(() => {
      throw new Error('mine');
    });
    rig.add('a', good(0), { maxTokens: 2 });
    await rig.finish();
    expect(rig.tokens.get('a')).toEqual([fakeAnswer(good(0), 2)]);
    expect(error).toHaveBeenCalled();
    error.mockRestore();
  });
});

test('a fault of the engine itself ends what runs, and it recovers as from that of a rank', async () => {
  const second = new FakeExecutor(1);
  const rig = new Rig({ maxNumSeqs: 1, reloadExecutor: async () => second });
  rig.add('runs', good(0), { maxTokens: 5 });
  rig.add('waits', good(1), { maxTokens: 3 });
  await rig.step();
  // An answer that no executor gives.
  rig.executor.execute = async () => undefined as unknown as StepOutput;
  await rig.finish();
  expect(rig.ended.get('runs')?.error).toBeInstanceOf(TypeError);
  expect(rig.tokens.get('waits')).toEqual([fakeAnswer(good(1), 3)]);
  expect(rig.engine.stats()).toMatchObject({ recoveries: 1, freeSlots: 1 });
});

describe('stop strings and their like have a limit', () => {
  test.each([
    [{ stop: new Array(200_000).fill('e') }, /stop has 200000 strings; expected at most 1024/],
    [{ stop: 'e'.repeat(70_000) }, /stop has 70000 characters; expected at most 65536/],
    [{ badWords: new Array(2000).fill('e') }, /badWords has 2000 strings/],
    [{ badWords: ['e'.repeat(70_000)] }, /badWords has 70000 characters/],
    [{ stopTokenIds: [0.5] }, /^stopTokenIds has the id 0.5/],
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

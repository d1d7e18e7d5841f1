import { describe, expect, test } from 'vitest';
import { AsyncLLMEngine } from '../../src/engine/async-llm-engine.ts';
import type { EngineEvent } from '../../src/engine/engine-events.ts';
import type { EngineContext } from '../../src/engine/load/engine-options.ts';
import type { RequestStream } from '../../src/engine/request/request-stream.ts';
import { type GenerateOptions, resolveSamplingParams } from '../../src/engine/sample/sampling-params.ts';
import { DisposedError, QueueFullError, ShutdownError } from '../../src/errors.ts';
import { FAKE_VOCAB, FakeExecutor, fakeAnswer } from './fake-executor.ts';

function makeEngine(context: Partial<EngineContext> = {}) {
  const executor = new FakeExecutor(context.maxNumSeqs ?? 2);
  const limits = { maxNumSeqs: 2, maxNumBatchedTokens: 16 };
  const engine = new AsyncLLMEngine({
    executor,
    tokenizer: undefined,
    eosTokenIds: [],
    vocabSize: FAKE_VOCAB,
    ...limits,
    ...context,
  });
  const add = (promptTokenIds: number[], options: GenerateOptions = {}, requestId?: string) => {
    const params = resolveSamplingParams({ temperature: 0, ...options }, {});
    return engine.addRequest({ promptTokenIds, params, requestId }, options.signal);
  };
  return { engine, executor, add };
}

async function tokensOf(stream: RequestStream): Promise<number[]> {
  const tokenIds: number[] = [];
  for await (const { outputs } of stream)
    tokenIds.push(...outputs.flatMap(({ tokens }) => tokens.map((t) => t.tokenId)));
  return tokenIds;
}

const turns = async (count: number) => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
};

describe('streams', () => {
  test('give each request its own tokens, and steps are shared', async () => {
    const { executor, add } = makeEngine();
    const [first, second] = await Promise.all([
      tokensOf(add([1, 2], { maxTokens: 6 })),
      tokensOf(add([3], { maxTokens: 6 })),
    ]);
    expect(first).toEqual(fakeAnswer([1, 2], 6));
    expect(second).toEqual(fakeAnswer([3], 6));
    expect(executor.batches.filter(({ sequences }) => sequences.length === 2)).toHaveLength(6);
  });

  test('merge what a late reader missed, and lose nothing', async () => {
    const { engine, add } = makeEngine();
    const stream = add([1], { maxTokens: 30, n: 2 });
    const first = await stream.next();
    expect(first.value?.outputs.map(({ tokens }) => tokens.length)).toEqual([1, 1]);
    while (engine.stats().runningRequests > 0) await turns(1);
    const rest = await stream.next();
    expect(rest.value).toMatchObject({ finished: true, outputs: [{ index: 0, finishReason: 'length' }, { index: 1 }] });
    expect(rest.value?.outputs.map(({ tokens }) => tokens.map(({ tokenId }) => tokenId))).toEqual(
      [0, 1].map(() => fakeAnswer([1], 30).slice(1)),
    );
    expect(await stream.next()).toEqual({ done: true, value: undefined });
  });

  test('of slow readers stay bounded: the request waits, and continues when it is read', async () => {
    const { engine, add } = makeEngine({ maxUnreadTokens: 5, maxNumSeqs: 1 });
    const slow = add([1], { maxTokens: 40 });
    await turns(200);
    const { completionTokens } = engine.stats();
    expect(completionTokens).toBe(5);
    // It does not keep others from its slot.
    expect(await tokensOf(add([2], { maxTokens: 3 }))).toEqual(fakeAnswer([2], 3));
    expect(await tokensOf(slow)).toEqual(fakeAnswer([1], 40));
  });

  test('end with the reason of their signal, at once and for good', async () => {
    const { engine, add } = makeEngine();
    const controller = new AbortController();
    const stream = add([1], { maxTokens: 1000, signal: controller.signal });
    await stream.next();
    const reason = new Error('enough');
    controller.abort(reason);
    expect(engine.stats()).toMatchObject({ runningRequests: 0, freeSlots: 2 });
    await expect(stream.next()).rejects.toBe(reason);
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    expect(() => add([1], { signal: controller.signal })).toThrow(reason);
    expect(engine.stats().finishedRequests.abort).toBe(1);
  });

  test('that are left free their slots within a step', async () => {
    const { engine, add } = makeEngine();
    for await (const _ of add([1], { maxTokens: 1000 })) break;
    expect(engine.stats()).toMatchObject({ runningRequests: 0, waitingRequests: 0, freeSlots: 2 });
    engine.checkIntegrity();
  });

  test('reject with the error of the executor after the tokens that came before', async () => {
    const { executor, add } = makeEngine();
    const stream = add([1], { maxTokens: 50 });
    await turns(12);
    executor.failure = new Error('a rank died');
    await turns(12);
    const { value } = await stream.next();
    expect(value?.outputs[0].tokens.length).toBeGreaterThan(1);
    await expect(stream.next()).rejects.toThrow('a rank died');
    expect(() => add([1])).toThrow('a rank died');
  });
});

describe('shutdown', () => {
  test('finishes what was accepted, and refuses what comes', async () => {
    const { engine, add } = makeEngine({ maxNumSeqs: 1 });
    const accepted = [add([1], { maxTokens: 9 }), add([2], { maxTokens: 4 })];
    const down = engine.shutdown();
    expect(() => add([3])).toThrow(ShutdownError);
    expect(await Promise.all(accepted.map(tokensOf))).toEqual([fakeAnswer([1], 9), fakeAnswer([2], 4)]);
    await down;
    expect(engine.stats().finishedRequests).toMatchObject({ length: 2, abort: 0 });
  });

  test('hands back what is unfinished when time is up', async () => {
    const { engine, add } = makeEngine();
    const running = add([1], { maxTokens: 100_000 });
    await running.next();
    const controller = new AbortController();
    const down = engine.shutdown({ signal: controller.signal });
    await turns(3);
    controller.abort();
    await down;
    await expect(tokensOf(running)).rejects.toThrow(ShutdownError);
    expect(engine.stats().freeSlots).toBe(2);
  });

  test('without draining ends all now', async () => {
    const { engine, add } = makeEngine();
    const all = ['a', 'b', 'c'].map((id) => add([1], {}, id));
    await engine.shutdown({ drain: false });
    for (const [i, stream] of all.entries()) {
      await expect(stream.next()).rejects.toThrow(`Request '${'abc'[i]}' was not finished`);
    }
  });

  test('and disposal end what runs, during a step', async () => {
    const { engine, executor, add } = makeEngine();
    const running = add([1], { maxTokens: 1000 });
    await running.next();
    await engine.dispose();
    await expect(running.next()).rejects.toThrow(DisposedError);
    expect(() => add([1])).toThrow(DisposedError);
    expect(executor.isDisposed).toBe(true);
    await turns(3);
  });
});

describe('what is told', () => {
  test('disposal during a step is no failure', async () => {
    const { engine, add } = makeEngine();
    const types: string[] = [];
    engine.onEvent(({ type }) => types.push(type));
    await add([1], { maxTokens: 1000 }).next();
    await engine.dispose();
    await turns(5);
    expect(types).not.toContain('executorFailed');
    expect(types).toContain('finished');
  });

  test('events follow a request, and statistics add up', async () => {
    const { engine, add } = makeEngine({ maxNumSeqs: 1, maxQueueSize: 1 });
    const events: EngineEvent[] = [];
    const stop = engine.onEvent((event) => events.push(event));
    const streams = [add([1, 2, 3], { maxTokens: 4 }, 'a')];
    await turns(4);
    streams.push(add([1, 2, 3], { maxTokens: 2 }, 'b'));
    expect(() => add([1])).toThrow(QueueFullError);
    await Promise.all(streams.map(tokensOf));
    const of = (type: EngineEvent['type']) => events.filter((event) => event.type === type);
    expect(of('firstToken')).toMatchObject([{ requestId: 'a' }, { requestId: 'b' }]);
    expect(of('nextToken')).toHaveLength(3 + 1);
    expect(of('finished')).toMatchObject([
      { requestId: 'a', reason: 'length', promptTokens: 3, cachedTokens: 0, completionTokens: 4 },
      { requestId: 'b', reason: 'length', promptTokens: 3, cachedTokens: 3, completionTokens: 2 },
    ]);
    const { prefillTokens, decodeTokens, completionTokens, refusedRequests, finishedRequests } = engine.stats();
    expect({ prefillTokens, decodeTokens, completionTokens, refusedRequests }).toEqual({
      prefillTokens: 3,
      decodeTokens: 3 + 1,
      completionTokens: 6,
      refusedRequests: 1,
    });
    expect(finishedRequests).toEqual({ stop: 0, length: 2, abort: 0, error: 0 });
    const count = events.length;
    stop();
    await tokensOf(add([5], { maxTokens: 1 }));
    expect(events.length).toBe(count);
  });
});

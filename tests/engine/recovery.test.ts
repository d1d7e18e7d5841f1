import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { describe, expect, onTestFinished, test } from 'vitest';
import { AsyncLLMEngine } from '../../src/engine/async-llm-engine.ts';
import type { EngineEvent } from '../../src/engine/engine-events.ts';
import { LLM } from '../../src/engine/llm.ts';
import { loadModel } from '../../src/engine/load/load-model.ts';
import type { Executor } from '../../src/engine/run/executor.ts';
import { resolveSamplingParams } from '../../src/engine/sample/sampling-params.ts';
import { DisposedError, EngineDeadError, ModelChangedError, RankFailedError } from '../../src/errors.ts';
import { makeFolder } from '../checkpoint/folders.ts';
import { greedy, prompt } from './engine-rig.ts';
import { FAKE_VOCAB, FakeExecutor, fakeAnswer } from './fake-executor.ts';
import { GOLDEN } from './golden-folder.ts';

describe('an engine whose ranks fail', () => {
  test('ends what runs, loads the ranks again, and continues with the waiting requests', async () => {
    const options = { tensorParallelSize: 2, maxNumSeqs: 1, recover: true };
    const { context } = await loadModel(GOLDEN, options);
    const engine = new AsyncLLMEngine(context);
    const add = (promptTokenIds: number[], maxTokens: number) => {
      const params = resolveSamplingParams({ temperature: 0, maxTokens, ignoreEos: true }, {});
      return engine.addRequest({ promptTokenIds, params });
    };
    const tokensOf = async (stream: ReturnType<typeof add>) => {
      const tokenIds: number[] = [];
      for await (const { outputs } of stream) {
        for (const { tokens } of outputs) tokenIds.push(...tokens.map(({ tokenId }) => tokenId));
      }
      return tokenIds;
    };
    const expected = await tokensOf(add([1, 2, 3], 4));
    const running = add([4, 5], 1000);
    await running.next();
    const waiting = add([1, 2, 3], 4);
    // A slot that no rank has: what a rank can't do ends it, and the others with it.
    const sequences = [{ slot: 99, numComputedTokens: 0, tokenIds: [1] }];
    await expect(context.executor.execute({ sequences, logits: 'last' })).rejects.toThrow(/slot 99/);
    await expect(tokensOf(running)).rejects.toThrow(/slot 99/);
    expect(await tokensOf(waiting)).toEqual(expected);
    expect(engine.stats()).toMatchObject({ recoveries: 1, freeSlots: 1 });
    await engine.dispose();
  }, 120_000);
});

/** An engine over fake executors, which are loaded again as the test says. */
function fakeEngine(reload?: (tries: number, signal: AbortSignal) => Promise<Executor>) {
  const first = new FakeExecutor(2);
  let tries = 0;
  const engine = new AsyncLLMEngine({
    executor: first,
    reloadExecutor: reload && ((signal) => reload(++tries, signal)),
    reloadPause: 1,
    tokenizer: undefined,
    eosTokenIds: [],
    vocabSize: FAKE_VOCAB,
    maxNumSeqs: 2,
    maxNumBatchedTokens: 16,
  });
  onTestFinished(() => engine.dispose());
  const events: EngineEvent[] = [];
  engine.onEvent((event) => events.push(event));
  return { engine, first, events };
}

async function answer(engine: AsyncLLMEngine, promptTokenIds: number[], maxTokens = 4): Promise<number[]> {
  const tokenIds: number[] = [];
  for await (const { outputs } of engine.addRequest({ promptTokenIds, params: greedy({ maxTokens }) })) {
    for (const { tokens } of outputs) tokenIds.push(...tokens.map(({ tokenId }) => tokenId));
  }
  return tokenIds;
}

/** The first event of a type, when it comes. */
function eventOf<T extends EngineEvent['type']>(engine: AsyncLLMEngine, type: T) {
  return new Promise<Extract<EngineEvent, { type: T }>>((resolve) => {
    const stop = engine.onEvent((event) => {
      if (event.type !== type) return;
      stop();
      resolve(event as Extract<EngineEvent, { type: T }>);
    });
  });
}

describe('an executor that fails while nothing runs', () => {
  test('is loaded again at once, and the next request waits for it', async () => {
    const { engine, first } = fakeEngine(async () => new FakeExecutor(2));
    expect(await answer(engine, prompt(5))).toEqual(fakeAnswer(prompt(5), 4));
    const recovered = eventOf(engine, 'recovered');
    first.die(new Error('gone'));
    await recovered;
    expect(first.isDisposed).toBe(true);
    expect(await answer(engine, prompt(5))).toEqual(fakeAnswer(prompt(5), 4));
  });

  test('fails no request that comes before it is loaded', async () => {
    let load = (_: Executor) => {};
    const loaded = new Promise<Executor>((resolve) => {
      load = resolve;
    });
    const { engine, first } = fakeEngine(() => loaded);
    const failed = eventOf(engine, 'executorFailed');
    first.die(new Error('gone'));
    await failed;
    const waiting = [answer(engine, prompt(5)), answer(engine, prompt(6))];
    load(new FakeExecutor(2));
    expect(await Promise.all(waiting)).toEqual([fakeAnswer(prompt(5), 4), fakeAnswer(prompt(6), 4)]);
    expect(engine.stats().finishedRequests.error).toBe(0);
  });

  test('ends the engine where it is not to be loaded again', async () => {
    const { engine, first } = fakeEngine();
    const died = eventOf(engine, 'died');
    const gone = new Error('gone');
    first.die(gone);
    expect((await died).error).toBe(gone);
    await expect(answer(engine, prompt(3))).rejects.toBe(gone);
    await new Promise((resolve) => setImmediate(resolve));
    expect(engine.closed).toBe(gone);
  });

  test('is nothing to react to once it was disposed of', async () => {
    const { engine, first, events } = fakeEngine(async () => new FakeExecutor(2));
    await engine.dispose();
    first.die(new Error('gone'));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(events).toEqual([]);
  });
});

describe('a model that can not be loaded again', () => {
  test('is tried again with growing pauses, and waiting requests continue', async () => {
    const { engine, first, events } = fakeEngine(async (tries) => {
      if (tries < 4) throw new Error(`try ${tries}`);
      return new FakeExecutor(2);
    });
    first.die(new Error('gone'));
    expect(await answer(engine, prompt(5))).toEqual(fakeAnswer(prompt(5), 4));
    const failures = events.filter((event) => event.type === 'reloadFailed');
    expect(failures.map(({ error }) => error.message)).toEqual(['try 1', 'try 2', 'try 3']);
    expect(failures.map(({ retrySeconds }) => retrySeconds)).toEqual([0.001, 0.002, 0.004]);
    expect(engine.closed).toBeUndefined();
  });

  test('is given up after a number of tries, with an error that says so', async () => {
    const { engine, first, events } = fakeEngine(async (tries) => {
      throw new Error(`try ${tries}`);
    });
    const died = eventOf(engine, 'died');
    first.die(new Error('gone'));
    const waiting = answer(engine, prompt(5));
    await expect(waiting).rejects.toThrow(EngineDeadError);
    await expect(waiting).rejects.toThrow(/has failed 7 times: try 7/);
    expect((await died).error).toBeInstanceOf(EngineDeadError);
    expect(events.filter(({ type }) => type === 'reloadFailed').at(-1)).toMatchObject({ retrySeconds: undefined });
    expect(engine.closed).toBeInstanceOf(EngineDeadError);
    await expect(answer(engine, prompt(5))).rejects.toThrow(EngineDeadError);
    await engine.dispose();
    await expect(answer(engine, prompt(5))).rejects.toThrow(DisposedError);
  });

  test('is given up, too, where it fails right after each loading', async () => {
    const { engine, first } = fakeEngine(async (tries) => {
      const executor = new FakeExecutor(2);
      executor.die(new Error(`death ${tries}`));
      return executor;
    });
    const died = eventOf(engine, 'died');
    first.die(new Error('gone'));
    expect((await died).error).toBeInstanceOf(EngineDeadError);
  });

  test('does not keep the engine from being disposed of', async () => {
    for (const load of [
      (_: number, signal: AbortSignal) =>
        new Promise<Executor>((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
      async () => Promise.reject(new Error('not there')),
    ]) {
      const { engine, first } = fakeEngine(load);
      const failed = eventOf(engine, 'executorFailed');
      first.die(new Error('gone'));
      await failed;
      const waiting = answer(engine, prompt(5));
      await engine.dispose();
      await expect(waiting).rejects.toThrow(DisposedError);
    }
  });
});

describe('ranks', () => {
  async function loadTwo(folder = GOLDEN) {
    const workers: Worker[] = [];
    const collect = (worker: Worker) => workers.push(worker);
    process.on('worker', collect);
    const llm = await LLM.load(folder, { tensorParallelSize: 2, recover: true });
    onTestFinished(async () => {
      process.off('worker', collect);
      await llm.dispose();
    });
    return { llm, workers };
  }
  const options = { maxTokens: 4, temperature: 0, ignoreEos: true };

  test('that die while nothing runs are started again; requests and sessions lose nothing', async () => {
    const { llm, workers } = await loadTwo();
    const { tokenIds } = await llm.complete([1, 2, 3], options);
    const session = llm.createSession();
    await session.append([1, 2]);
    const before = await session.save();
    const recovered = eventOf(llm.engine, 'recovered');
    await workers[1].terminate();
    // In the time before anybody can know, and after.
    const [file, early] = await Promise.all([session.save(), llm.loadSession(before)]);
    expect(file).toEqual(before);
    await recovered;
    expect(await session.save()).toEqual(before);
    expect((await llm.complete([1, 2, 3], options)).tokenIds).toEqual(tokenIds);
    for (const each of [session, early, await llm.loadSession(file)]) {
      const answered: number[] = [];
      for await (const chunk of each.generate([3], options)) answered.push(chunk.tokenId);
      expect(answered).toEqual(tokenIds);
    }
    expect(llm.engine.stats()).toMatchObject({ recoveries: 1, finishedRequests: { error: 0 } });
  }, 120_000);

  test('that die again while they load are started again', async () => {
    const { llm, workers } = await loadTwo();
    const { tokenIds } = await llm.complete([1, 2, 3], options);
    const failed = eventOf(llm.engine, 'executorFailed');
    const reloadFailed = eventOf(llm.engine, 'reloadFailed');
    const nextWorker = async () => {
      const count = workers.length;
      while (workers.length === count) await new Promise((resolve) => setTimeout(resolve, 1));
      return workers[workers.length - 1];
    };
    const next = nextWorker();
    await workers[0].terminate();
    expect((await failed).error).toBeInstanceOf(RankFailedError);
    await (await next).terminate();
    expect((await reloadFailed).error).toBeInstanceOf(RankFailedError);
    expect((await llm.complete([1, 2, 3], options)).tokenIds).toEqual(tokenIds);
  }, 120_000);

  test('are not started with files that were replaced since', async () => {
    const folder = await makeFolder({});
    await cp(GOLDEN, folder, { recursive: true });
    const { llm, workers } = await loadTwo(folder);
    const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8'));
    await writeFile(join(folder, 'config.json'), JSON.stringify({ ...config, layer_norm_epsilon: 1e-3 }));
    const reloadFailed = eventOf(llm.engine, 'reloadFailed');
    await workers[0].terminate();
    expect((await reloadFailed).error).toBeInstanceOf(ModelChangedError);
    await writeFile(join(folder, 'config.json'), JSON.stringify(config));
    expect((await llm.complete([1, 2, 3], options)).tokenIds).toHaveLength(4);
  }, 120_000);
});

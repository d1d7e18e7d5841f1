import { describe, expect, onTestFinished, test } from 'vitest';
import { LLM } from '../../../src/engine/llm.ts';
import type { LoadOptions } from '../../../src/engine/load/load-options.ts';
import type { EngineRequest } from '../../../src/engine/request/engine-request.ts';
import type { Session } from '../../../src/engine/session/session.ts';
import {
  ArgumentError,
  ContextLengthError,
  DisposedError,
  EmptyPromptError,
  QueueFullError,
  SamplingParamsError,
  TokenIdError,
} from '../../../src/errors.ts';
import { GOLDEN } from '../golden-folder.ts';

const GREEDY = { temperature: 0, maxTokens: 5, ignoreEos: true };
const FIRST = [1, 2, 3];

async function load(options: LoadOptions = {}): Promise<LLM> {
  const llm = await LLM.load(GOLDEN, options);
  onTestFinished(() => llm.dispose());
  return llm;
}

async function generated(session: Session, prompt?: string | number[], options = {}): Promise<number[]> {
  const tokenIds = [];
  for await (const { tokenId } of session.generate(prompt, { ...GREEDY, ...options })) tokenIds.push(tokenId);
  return tokenIds;
}

/** A session after some tokens, and what it is to be after a turn that did not happen. */
async function begun(options: LoadOptions = {}) {
  const llm = await load(options);
  const session = llm.createSession();
  await session.append(FIRST);
  const expectUnchanged = async () => {
    expect(session.tokenIds).toEqual(FIRST);
    const before = llm.engine.stats().prefillTokens;
    const answer = await generated(session, [4, 5]);
    expect(llm.engine.stats().prefillTokens - before).toBeLessThanOrEqual(2);
    expect(answer).toEqual((await llm.complete([...FIRST, 4, 5], GREEDY)).tokenIds);
    expect(session.tokenIds).toEqual([...FIRST, 4, 5, ...answer]);
    session.dispose();
    await new Promise((resolve) => setImmediate(resolve));
    llm.engine.checkIntegrity();
  };
  return { llm, session, expectUnchanged };
}

describe('a turn that is refused', () => {
  test.each([
    ['for its sampling', (session: Session) => generated(session, [4], { topP: 7 }), SamplingParamsError],
    ['for its number of answers', (session: Session) => generated(session, [4], { n: 2 }), ArgumentError],
    ['for a token', (session: Session) => generated(session, [4, 256]), TokenIdError],
    ['for an empty prompt', (session: Session) => generated(session, []), EmptyPromptError],
    ['for its length', (session: Session) => generated(session, new Array(60).fill(4)), ContextLengthError],
    ['for its priority', (session: Session) => generated(session, [4], { priority: Number.NaN }), ArgumentError],
    ['as an addition, for its length', (session: Session) => session.append(new Array(65).fill(4)), ContextLengthError],
    ['as an addition, for a token', (session: Session) => session.append([-1]), TokenIdError],
  ])('%s leaves the session as it was', async (_, turn, ErrorClass) => {
    const { session, expectUnchanged } = await begun({ maxModelLen: 62, snapshotInterval: 16 });
    for (let i = 0; i < 2; i++) await expect(turn(session)).rejects.toThrow(ErrorClass);
    await expectUnchanged();
  });

  test('because others wait leaves the session as it was', async () => {
    const { llm, session, expectUnchanged } = await begun({ maxNumSeqs: 1, maxQueueSize: 1 });
    const others = [1, 2].map((first) => llm.generate([first], { ...GREEDY, maxTokens: 1000 }));
    const reading = others.map((other) => other.next());
    await reading[0];
    await expect(generated(session, [4])).rejects.toThrow(QueueFullError);
    await expect(session.append([4])).rejects.toThrow(QueueFullError);
    await others[0].return();
    await reading[1];
    await others[1].return();
    await expectUnchanged();
  });

  test('by a signal that was aborted before leaves the session as it was', async () => {
    const { session, expectUnchanged } = await begun();
    const signal = AbortSignal.abort(new Error('not today'));
    await expect(generated(session, [4], { signal })).rejects.toThrow('not today');
    await expect(session.append([4], { signal })).rejects.toThrow('not today');
    await expectUnchanged();
  });
});

describe('a turn that ends before its time', () => {
  test('by its signal is undone, whatever was read of it', async () => {
    const { session, expectUnchanged } = await begun();
    const abort = new AbortController();
    let read = 0;
    const turn = async () => {
      for await (const _ of session.generate([4], { ...GREEDY, maxTokens: 500, signal: abort.signal })) {
        if (++read === 3) abort.abort(new Error('enough'));
      }
    };
    await expect(turn()).rejects.toThrow('enough');
    expect(read).toBe(3);
    await expectUnchanged();
  });

  test('by its signal is undone though its state was there already', async () => {
    const { llm, session, expectUnchanged } = await begun();
    const abort = new AbortController();
    // The signal comes with the last step, before anybody can have read what it gave.
    const { engine } = llm;
    const addRequest = engine.addRequest.bind(engine);
    engine.addRequest = (request: EngineRequest, signal) => {
      const onFinalState: EngineRequest['onFinalState'] = (state) => {
        request.onFinalState?.(state);
        abort.abort(new Error('too late'));
      };
      return addRequest({ ...request, onFinalState }, signal);
    };
    await expect(session.append([4], { signal: abort.signal })).rejects.toThrow('too late');
    engine.addRequest = addRequest;
    await expectUnchanged();
  });

  test('by an error that the reader throws into it is undone', async () => {
    const { session, expectUnchanged } = await begun();
    const turn = session.generate([4], GREEDY);
    await turn.next();
    await expect(turn.throw(new Error('mine'))).rejects.toThrow('mine');
    await expectUnchanged();
  });

  test('because its reader left keeps what was read', async () => {
    const { llm, session } = await begun();
    const read: number[] = [];
    for await (const { tokenId } of session.generate([4], GREEDY)) {
      read.push(tokenId);
      if (read.length === 2) break;
    }
    expect(session.tokenIds).toEqual([...FIRST, 4, ...read]);
    const broken = async () => {
      for await (const { tokenId } of session.generate(undefined, GREEDY)) {
        read.push(tokenId);
        throw new Error('of the loop');
      }
    };
    await expect(broken()).rejects.toThrow('of the loop');
    expect(session.tokenIds).toEqual([...FIRST, 4, ...read]);
    expect(await generated(session)).toEqual((await llm.complete([...FIRST, 4, ...read], GREEDY)).tokenIds);
  });

  test('before it has begun is none', async () => {
    const { session, expectUnchanged } = await begun();
    const turn = session.generate([4], GREEDY);
    await turn.return();
    await expectUnchanged();
  });

  test('keeps the state that the session had, without a prefix cache', async () => {
    const { llm, session } = await begun({ enablePrefixCaching: false });
    for await (const _ of session.generate([4], { ...GREEDY, maxTokens: 500 })) break;
    const before = llm.engine.stats().prefillTokens;
    await generated(session);
    // The prompt's last token and the one that was read are left to compute; those before it are not.
    expect(llm.engine.stats().prefillTokens - before).toBeLessThanOrEqual(2);
  });
});

describe('calls at the same time', () => {
  test('are refused but the first, and change nothing', async () => {
    const { llm, session } = await begun();
    const turn = session.generate([4], GREEDY);
    const read = [(await turn.next()).value?.tokenId];
    expect(session.tokenIds).toEqual(FIRST);
    await expect(session.append([9])).rejects.toThrow(ArgumentError);
    await expect(generated(session, [9])).rejects.toThrow(/busy/);
    await expect(session.save()).rejects.toThrow(ArgumentError);
    expect(() => session.fork()).toThrow(ArgumentError);
    expect(() => session.rewind(1)).toThrow(ArgumentError);
    for await (const { tokenId } of turn) read.push(tokenId);
    expect(session.tokenIds).toEqual([...FIRST, 4, ...read]);
    expect(read).toEqual((await llm.complete([...FIRST, 4], GREEDY)).tokenIds);
  });

  test('with dispose end', async () => {
    const { llm, session } = await begun();
    const turn = session.generate([4], { ...GREEDY, maxTokens: 500 });
    await turn.next();
    const next = turn.next();
    session.dispose();
    await expect(next).rejects.toThrow(DisposedError);
    const other = llm.createSession();
    const appending = other.append([1, 2]);
    other.dispose();
    await expect(appending).rejects.toThrow(DisposedError);
    const third = llm.createSession();
    await third.append([7]);
    const saving = third.save();
    third.dispose();
    await expect(saving).rejects.toThrow(DisposedError);
    await llm.complete([1], { maxTokens: 1 });
    llm.engine.checkIntegrity();
    expect(llm.engine.stats()).toMatchObject({ runningRequests: 0, waitingRequests: 0 });
  });
});

describe('what a caller changes afterwards', () => {
  test('changes nothing', async () => {
    const llm = await load();
    const ids = [5, 6, 7, 8];
    const plain = (await llm.complete(ids, GREEDY)).tokenIds;
    const spoil = (list: number[]) => list.fill(99);
    const options = {
      ...GREEDY,
      logitBias: new Map<number, number>(),
      stopTokenIds: [] as number[],
      badWords: [] as string[],
      stop: [] as string[],
    };
    const given = [...ids];
    const stream = llm.generate(given, options);
    spoil(given);
    options.logitBias.set(plain[0], -100);
    options.stopTokenIds.push(plain[1]);
    options.maxTokens = 1;
    const read = [];
    for await (const { tokenId } of stream) read.push(tokenId);
    expect(read).toEqual(plain);

    const session = llm.createSession();
    const first = ids.slice(0, 2);
    const appending = session.append(first);
    spoil(first);
    await appending;
    const rest = ids.slice(2);
    const turn = session.generate(rest, { ...GREEDY });
    spoil(rest);
    const answer = [];
    for await (const { tokenId } of turn) answer.push(tokenId);
    expect(answer).toEqual(plain);
    spoil(session.tokenIds as number[]);
    expect(session.tokenIds).toEqual([...ids, ...plain]);
    const saved = await session.save();
    const loading = llm.loadSession(saved);
    saved.fill(0);
    expect((await loading).tokenIds).toEqual([...ids, ...plain]);
  });

  test('changes no request of the engine, and no parameters', async () => {
    const llm = await load();
    const params = llm.resolveSamplingParams(GREEDY);
    const promptTokenIds = [5, 6, 7, 8];
    const stream = llm.engine.addRequest({ promptTokenIds, params });
    promptTokenIds.fill(99);
    (params.stopTokenIds as Set<number>).add(1);
    const read = [];
    for await (const { outputs } of stream) read.push(...outputs.flatMap(({ tokens }) => tokens));
    expect(read.map(({ tokenId }) => tokenId)).toEqual((await llm.complete([5, 6, 7, 8], GREEDY)).tokenIds);
    const ids = [1, 2];
    expect(llm.tokenize(ids)).not.toBe(ids);
  });
});

import { describe, expect, test } from 'vitest';
import type { EngineContext } from '../../../src/engine/load/engine-options.ts';
import type { SharedStatesSource } from '../../../src/engine/store/shared-states.ts';
import type { StateStoreEvent } from '../../../src/engine/store/store-events.ts';
import { Rig } from '../engine-rig.ts';
import { FAKE_VOCAB, type FakeBlocks, fakeAnswer } from '../fake-executor.ts';
import { MemoryStore } from './memory-store.ts';

const BLOCKS: FakeBlocks = { numBlocks: 600, blockSize: 32 };

const text = (length: number, seed = 0) =>
  Array.from({ length }, (_, i) => (i * i * 3 + i * 7 + seed * 5 + (i >> 3)) % FAKE_VOCAB);

/** An engine of a machine that shares states with others. */
class Machine {
  readonly rig: Rig;
  readonly failures: Error[] = [];
  #count = 0;

  constructor(
    source: Partial<SharedStatesSource> & Pick<SharedStatesSource, 'store'>,
    { blocks, ...context }: Partial<EngineContext> & { readonly blocks?: FakeBlocks | undefined } = {},
  ) {
    const sharedStates = { fetch: 'always', model: async () => 'model', ...source } as const;
    this.rig = new Rig(
      { maxNumBatchedTokens: 512, snapshotInterval: 64, prefixCacheBytes: 1e6, sharedStates, ...context },
      blocks,
    );
    this.rig.engine.onEvent((event) => {
      if (event.type === 'stateStoreFailed') this.failures.push(event.error);
    });
  }

  get stats() {
    const { stateStore } = this.rig.engine.stats();
    if (!stateStore) throw new Error('There is no store.');
    return stateStore;
  }

  /** → the answer, and the tokens that were computed for the prompt. States are put before it returns. */
  async answer(prompt: readonly number[], maxTokens = 8, cacheSalt?: string | symbol) {
    const id = `${this.#count++}`;
    const before = this.rig.engine.stats().prefillTokens;
    this.rig.add(id, [...prompt], { maxTokens }, { cacheSalt });
    await this.finish();
    await this.rig.engine.flushStates(AbortSignal.timeout(2000));
    const answer = this.rig.tokens.get(id)?.[0] ?? [];
    const computed = this.rig.engine.stats().prefillTokens - before;
    return { answer, computed, cached: this.rig.ended.get(id)?.numCachedTokens, error: this.rig.ended.get(id)?.error };
  }

  /** Steps as AsyncLLMEngine makes them: none while nothing can run. */
  async finish(isOver = () => !this.rig.engine.hasUnfinishedRequests()): Promise<void> {
    const { engine } = this.rig;
    while (!isOver()) {
      if (engine.hasWork()) await this.rig.step();
      else await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
}

describe.each([
  { kind: 'of states alone', blocks: undefined },
  { kind: 'with attention', blocks: BLOCKS },
])('a model $kind', ({ blocks }) => {
  const expected = (prompt: readonly number[], count = 8) => fakeAnswer(prompt, count, blocks !== undefined);

  test('is continued by machines in turn, which compute only what is new', async () => {
    const store = new MemoryStore();
    const machines = [new Machine({ store }, { blocks }), new Machine({ store }, { blocks })];
    let conversation = text(40);
    let known = 0;
    for (let turn = 0; turn < 8; turn++) {
      const { answer, computed } = await machines[turn % 2].answer(conversation);
      expect(answer).toEqual(expected(conversation));
      expect(computed).toBe(conversation.length - known);
      // The last token of an answer was chosen, and not yet read.
      known = conversation.length + answer.length - 1;
      conversation = [...conversation, ...answer, ...text(150, turn)];
    }
    for (const { stats } of machines) expect(stats.failures + stats.damaged).toBe(0);
  });

  test('is continued from the longest state that is known, wherever a text was split', async () => {
    const store = new MemoryStore();
    const whole = text(700);
    for (const length of [1, 31, 255, 256, 257, 511, 512, 513, 640]) {
      await new Machine({ store }, { blocks }).answer(whole.slice(0, length), 1);
    }
    for (const length of [2, 255, 256, 300, 512, 513, 600, 700]) {
      const { answer, computed } = await new Machine({ store }, { blocks }).answer(whole.slice(0, length));
      expect(answer).toEqual(expected(whole.slice(0, length)));
      const best = [1, 31, 255, 256, 257, 511, 512, 513, 640].findLast((known) => known <= length) ?? 0;
      expect(computed).toBe(length - best);
    }
  });

  test.each([
    ['nothing', () => new Uint8Array()],
    ['a truncated value', (value: Uint8Array) => value.slice(0, -4)],
    ['half a value', (value: Uint8Array) => value.slice(0, value.length >> 1)],
    ['a value with more at its end', (value: Uint8Array) => Uint8Array.of(...value, 0, 0, 0, 0)],
    ['zeros', (value: Uint8Array) => new Uint8Array(value.length)],
    ['text', () => new TextEncoder().encode('{"error":"not found, but at great length, and nowhere a state"}')],
  ])('takes %s for no state', async (_, damage) => {
    const store = new MemoryStore();
    const prompt = text(600);
    await new Machine({ store }, { blocks }).answer(prompt);
    for (const [key, value] of store.values) store.values.set(key, new Uint8Array(damage(value)));
    const machine = new Machine({ store }, { blocks });
    const { answer, computed } = await machine.answer([...prompt, 1]);
    expect(answer).toEqual(expected([...prompt, 1]));
    expect(computed).toBe(601);
    expect(machine.stats.damaged).toBeGreaterThan(0);
    expect(machine.failures[0].message).toMatch(/not what was put there/);
  });

  test('takes no value with a flipped bit, wherever it is', async () => {
    const store = new MemoryStore();
    const prompt = text(300);
    await new Machine({ store }, { blocks }).answer(prompt, 1);
    const whole = new Map(store.values);
    const longest = Math.max(...[...whole.values()].map(({ length }) => length));
    for (let at = 0; at < longest; at += blocks ? 61 : 7) {
      for (const [key, value] of whole) {
        const changed = value.slice();
        changed[at % value.length] ^= 1 << (at % 8);
        store.values.set(key, changed);
      }
      const machine = new Machine({ store }, { blocks });
      const { computed, answer } = await machine.answer(prompt, 2);
      expect([at, computed, answer]).toEqual([at, 300, expected(prompt, 2)]);
      store.values.clear();
    }
  });

  test('takes a value under its own key only', async () => {
    const store = new MemoryStore();
    const [one, other] = [text(600), text(600, 1)];
    await new Machine({ store }, { blocks }).answer(one);
    const keys = [...store.values.keys()];
    await new Machine({ store }, { blocks }).answer(other);
    const others = [...store.values.keys()].filter((key) => !keys.includes(key));
    const values = others.map((key) => store.values.get(key) ?? new Uint8Array());
    for (const [i, key] of keys.entries()) store.values.set(key, values[i]);
    const { answer, computed } = await new Machine({ store }, { blocks }).answer([...one, 3]);
    expect(answer).toEqual(expected([...one, 3]));
    expect(computed).toBe(601);
  });

  test('writes a damaged value again', async () => {
    const store = new MemoryStore();
    const prompt = text(600);
    await new Machine({ store }, { blocks }).answer(prompt);
    for (const [key, value] of store.values)
      store.values.set(
        key,
        value.map((byte) => byte ^ 1),
      );
    expect((await new Machine({ store }, { blocks }).answer(prompt)).computed).toBe(600);
    expect((await new Machine({ store }, { blocks }).answer([...prompt, 1])).computed).toBe(1);
  });

  test('computes what the store loses between a look and a fetch', async () => {
    const store = new MemoryStore();
    const prompt = text(600);
    await new Machine({ store }, { blocks }).answer(prompt);
    for (const lost of [...store.values.keys()]) {
      const kept = store.values.get(lost) ?? new Uint8Array();
      const machine = new Machine({ store }, { blocks });
      store.before = (call) => {
        if (call === 'get') store.values.delete(lost);
      };
      const { answer } = await machine.answer([...prompt, 2]);
      expect(answer).toEqual(expected([...prompt, 2]));
      expect(machine.failures).toEqual([]);
      store.before = () => {};
      store.values.set(lost, kept);
    }
  });
});

describe('a shared store of states', () => {
  test('keeps models and tenants apart', async () => {
    const store = new MemoryStore();
    const prompt = text(300);
    const computed = async (model: string, salt?: string | symbol) =>
      (await new Machine({ store, model: async () => model }).answer([...prompt, 1], 1, salt)).computed;
    for (const [model, salt] of [['a'], ['b'], ['a', 'x'], ['a', 'y'], ['b', 'x'], ['a', 'null']] as const) {
      expect(await computed(model, salt)).toBe(301);
      expect(await computed(model, salt)).toBe(0);
    }
    const before = store.values.size;
    expect(await computed('a', Symbol('x'))).toBe(301);
    expect(store.values.size).toBe(before);
  });

  test('gets of a hybrid only the keys and values of the last turn', async () => {
    const store = new MemoryStore();
    const machine = new Machine({ store }, { blocks: BLOCKS });
    const other = new Machine({ store }, { blocks: BLOCKS });
    const first = await machine.answer(text(600));
    const second = [...text(600), ...first.answer, ...text(300, 1)];
    store.puts.length = 0;
    const { answer } = await other.answer(second);
    // The third place of 256 tokens is new, and two states.
    expect(store.puts.filter((key) => key.endsWith('keys-and-values'))).toHaveLength(1);
    expect(store.puts).toHaveLength(3);
    store.gets.length = 0;
    const third = [...second, ...answer, 3, 4];
    const { computed } = await machine.answer(third);
    expect(computed).toBe(3);
    expect(store.gets.filter((key) => key.endsWith('keys-and-values'))).toHaveLength(1);
  });

  test('does not hold up others while a state is on its way', async () => {
    const store = new MemoryStore();
    await new Machine({ store }).answer(text(200));
    const machine = new Machine({ store }, { maxNumSeqs: 1 });
    let arrive = () => {};
    const arrival = new Promise<void>((resolve) => {
      arrive = resolve;
    });
    store.before = (call) => (call === 'get' ? arrival : undefined);
    const { rig } = machine;
    rig.add('waits', [...text(200), 1], { maxTokens: 2 });
    rig.add('runs', text(70, 3), { maxTokens: 2 });
    await machine.finish(() => rig.ended.has('runs'));
    expect(rig.engine.stats().waitingRequests).toBe(1);
    expect(rig.engine.hasWork()).toBe(false);
    arrive();
    await machine.finish();
    expect(rig.ended.get('waits')?.numCachedTokens).toBe(200);
    expect(rig.tokens.get('waits')?.[0]).toEqual(fakeAnswer([...text(200), 1], 2));
  });

  test('is fetched from once for requests that begin alike', async () => {
    const store = new MemoryStore();
    await new Machine({ store }).answer(text(300));
    const machine = new Machine({ store }, { maxNumSeqs: 4 });
    for (let i = 0; i < 4; i++) machine.rig.add(`${i}`, [...text(300), i], { maxTokens: 2 });
    await machine.finish();
    expect(store.gets).toHaveLength(1);
    expect(machine.rig.engine.stats().prefillTokens).toBe(4);
  });

  test('may hang: answers come all the same, and it is asked less and less', async () => {
    const store = new MemoryStore();
    store.before = () => new Promise(() => {});
    const machine = new Machine({ store, fetch: 'measured' });
    for (let i = 0; i < 5; i++) {
      const prompt = text(200, i);
      machine.rig.add(`${i} `, prompt, { maxTokens: 1 });
      await machine.finish();
      expect(machine.rig.tokens.get(`${i} `)?.[0]).toEqual(fakeAnswer(prompt, 1));
    }
    await machine.rig.engine.dispose();
    expect(machine.stats.queries).toBeLessThan(5);
  });

  test('may refuse everything', async () => {
    const store = new MemoryStore();
    store.before = () => Promise.reject(new Error('OOM command not allowed'));
    const machine = new Machine({ store });
    const { answer, error } = await machine.answer(text(200));
    expect([answer, error]).toEqual([fakeAnswer(text(200), 8), undefined]);
    expect(machine.stats).toMatchObject({ hits: 0, puts: 0, pendingPuts: 0, pendingBytes: 0 });
    expect(machine.failures[0].message).toBe('OOM command not allowed');
    // Neither is asked again at once.
    const { failures } = machine.stats;
    await machine.answer(text(200, 1));
    expect(machine.stats.failures).toBe(failures);
  });

  test('is asked by measured rates, whatever these are', async () => {
    const store = new MemoryStore();
    const machines = [new Machine({ store, fetch: 'measured' }), new Machine({ store, fetch: 'measured' })];
    for (let i = 0; i < 12; i++) {
      const prompt = text(100 + 37 * i, i >> 2);
      const { answer, error } = await machines[i % 2].answer(prompt);
      expect([answer, error]).toEqual([fakeAnswer(prompt, 8), undefined]);
    }
    expect(machines.flatMap(({ failures }) => failures)).toEqual([]);
  });

  test('lets a request leave while its state is on its way', async () => {
    const store = new MemoryStore();
    await new Machine({ store }).answer(text(200));
    store.before = (call) => (call === 'get' ? new Promise(() => {}) : undefined);
    const machine = new Machine({ store });
    machine.rig.add('leaves', [...text(200), 1]);
    await new Promise((resolve) => setTimeout(resolve, 20));
    machine.rig.engine.abortRequest('leaves');
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(machine.rig.engine.hasUnfinishedRequests()).toBe(false);
    machine.rig.engine.checkIntegrity();
    expect(machine.failures).toEqual([]);
    expect(machine.stats.failures).toBe(0);
  });

  test('ends with the engine, whatever is under way', async () => {
    const store = new MemoryStore();
    await new Machine({ store }).answer(text(200));
    store.before = () => new Promise(() => {});
    const machine = new Machine({ store });
    machine.rig.add('waits', [...text(200), 1]);
    await machine.rig.engine.dispose();
    expect(machine.rig.engine.hasUnfinishedRequests()).toBe(false);
  });

  test('is not asked for prompts of which everything is known, nor by evaluations', async () => {
    const store = new MemoryStore();
    const machine = new Machine({ store });
    await machine.answer(text(200));
    const { queries } = machine.stats;
    await machine.answer(text(200));
    expect(machine.stats.queries).toBe(queries);
    expect(store.puts).toHaveLength(2);
  });

  test('takes what waits when the engine ends, for as long as it may', async () => {
    const store = new MemoryStore();
    const machine = new Machine({ store });
    machine.rig.add('a', text(200), { maxTokens: 2 });
    await machine.finish();
    await machine.rig.engine.flushStates();
    expect(machine.stats).toMatchObject({ puts: 2, pendingPuts: 0 });
    store.before = (call) => (call === 'put' ? new Promise(() => {}) : undefined);
    machine.rig.add('b', text(200, 1), { maxTokens: 2 });
    await machine.finish();
    await machine.rig.engine.flushStates(AbortSignal.timeout(30));
    // The one that hangs ends with the engine.
    expect(machine.stats).toMatchObject({ puts: 2, pendingPuts: 1 });
    await machine.rig.engine.dispose();
    expect(machine.stats).toMatchObject({ pendingPuts: 0, pendingBytes: 0 });
  });

  test('never makes an error of its own: events of a failing store are seldom', async () => {
    const store = new MemoryStore();
    store.before = () => Promise.reject(new Error('gone'));
    const machine = new Machine({ store });
    const events: StateStoreEvent[] = [];
    machine.rig.engine.onEvent((event) => {
      if (event.type === 'stateStoreFailed') events.push(event);
    });
    for (let i = 0; i < 20; i++) await machine.answer(text(100, i), 1);
    expect(events.length).toBeLessThanOrEqual(4);
    expect(events[0]).toMatchObject({ retrySeconds: 0.5 });
  });
});

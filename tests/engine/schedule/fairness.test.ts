import { describe, expect, test } from 'vitest';
import { QueueFullError } from '../../../src/errors.ts';
import { greedy, prompt, Rig } from '../engine-rig.ts';
import { fakeAnswer } from '../fake-executor.ts';

/** Adds a request of several prompts, as a server does. */
function addGroup(rig: Rig, name: string, count: number, maxTokens = 1): void {
  const group = Symbol(name);
  for (let i = 0; i < count; i++) {
    rig.engine.addRequest({
      requestId: `${name}-${i}`,
      group,
      promptTokenIds: prompt(3, i),
      params: greedy({ maxTokens }),
    });
  }
}

describe('nothing waits for good', () => {
  test.each([1, 3])('where ever more requests of a better priority come, in %i slots', async (maxNumSeqs) => {
    const rig = new Rig({ maxNumSeqs });
    rig.add('patient', prompt(6), { maxTokens: 5 });
    for (let i = 0; i < maxNumSeqs; i++) rig.add(`busy-${i}`, [1, i], { maxTokens: 9, priority: -1 });
    for (let i = 0; !rig.ended.has('patient'); i++) {
      if (i > 500) throw new Error('It starves.');
      while (rig.engine.stats().waitingRequests < 8) {
        rig.add(`better-${rig.ended.size}-${i}-${rig.engine.stats().waitingRequests}`, [1, 2], {
          maxTokens: 6,
          priority: -Number.MAX_SAFE_INTEGER,
        });
      }
      await rig.step();
    }
    expect(rig.tokens.get('patient')).toEqual([fakeAnswer(prompt(6), 5)]);
  });

  test('though they take its blocks', async () => {
    const rig = new Rig({ maxNumSeqs: 3 }, { numBlocks: 9, blockSize: 2 });
    rig.add('patient', prompt(6), { maxTokens: 6 });
    for (let i = 0; !rig.ended.has('patient'); i++) {
      if (i > 500) throw new Error('It starves.');
      while (rig.engine.stats().waitingRequests < 4) {
        const id = `better-${i}-${rig.ended.size}-${rig.engine.stats().waitingRequests}`;
        rig.add(id, prompt(4, i), { maxTokens: 8, priority: -1 });
      }
      await rig.step();
    }
    expect(rig.tokens.get('patient')).toEqual([fakeAnswer(prompt(6), 6, true)]);
  });

  test('and whose turn it became waits for the better ones no more than so often', async () => {
    const rig = new Rig({ maxNumSeqs: 1 });
    rig.add('patient', [1], { maxTokens: 1 });
    for (let i = 0; i < 20; i++) rig.add(`better-${i}`, [2, i % 10], { maxTokens: 1, priority: -1 });
    await rig.finish();
    expect([...rig.ended.keys()].indexOf('patient')).toBe(4);
  });
});

describe('a request of many prompts', () => {
  test('lets others have turns in between, and has its own', async () => {
    const rig = new Rig({ maxNumSeqs: 2 });
    addGroup(rig, 'many', 20);
    await rig.step();
    rig.add('single', [5], { maxTokens: 1 });
    addGroup(rig, 'few', 2);
    await rig.finish();
    const order = [...rig.ended.keys()];
    expect(order.indexOf('single')).toBeLessThan(5);
    expect(order.indexOf('few-1')).toBeLessThan(9);
    expect(order.filter((id) => id.startsWith('many'))).toEqual(Array.from({ length: 20 }, (_, i) => `many-${i}`));
  });

  test('so has one of many answers', async () => {
    const rig = new Rig({ maxNumSeqs: 2 });
    rig.add('many', prompt(4), { n: 20, maxTokens: 2 });
    await rig.step();
    rig.add('single', [5], { maxTokens: 1 });
    await rig.finish();
    expect([...rig.ended.keys()]).toEqual(['single', 'many']);
    expect(rig.tokens.get('many')).toEqual(new Array(20).fill(fakeAnswer(prompt(4), 2)));
  });

  test('is not kept waiting for good by single ones', async () => {
    const rig = new Rig({ maxNumSeqs: 1 });
    addGroup(rig, 'many', 6);
    for (let i = 0; !rig.ended.has('many-5'); i++) {
      if (i > 200) throw new Error('It starves.');
      while (rig.engine.stats().waitingRequests < 10) {
        rig.add(`single-${i}-${rig.engine.stats().waitingRequests}-${rig.ended.size}`, [1], { maxTokens: 1 });
      }
      await rig.step();
    }
  });
});

describe('the queue', () => {
  test('counts what could not begin at once', async () => {
    const rig = new Rig({ maxNumSeqs: 8, maxQueueSize: 2 });
    for (let i = 0; i < 10; i++) rig.add(`${i}`, [1], { maxTokens: 2 });
    expect(() => rig.add('one too many', [1])).toThrow(QueueFullError);
    await rig.finish();
    for (let i = 0; i < 10; i++) rig.add(`again-${i}`, [1], { maxTokens: 2 });
    await rig.finish();
    expect(rig.ended.size).toBe(20);
    expect(rig.engine.capacity).toBe(10);
  });

  test('counts requests, however many prompts they have', async () => {
    const rig = new Rig({ maxNumSeqs: 2, maxQueueSize: 3 });
    // Two begin, and three wait.
    for (const name of ['a', 'b', 'c', 'd', 'e']) addGroup(rig, name, 10);
    expect(() => addGroup(rig, 'f', 1)).toThrow(QueueFullError);
    await rig.finish();
    expect(rig.ended.size).toBe(50);
    addGroup(rig, 'f', 10);
    await rig.finish();
    expect(rig.ended.size).toBe(60);
  });
});

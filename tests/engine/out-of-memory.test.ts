import { describe, expect, test, vi } from 'vitest';
import { CpuMemory } from '../../src/backends/cpu/memory/cpu-memory.ts';
import {
  createGroupMemory,
  failGroup,
  resetGroup,
  SharedMemoryGroup,
} from '../../src/distributed/shared-memory-group.ts';
import { OutOfMemoryError, RankFailedError } from '../../src/errors.ts';
import { prompt, Rig } from './engine-rig.ts';
import { fakeAnswer } from './fake-executor.ts';

test('parts of a step take the memory of one and two results', () => {
  const memory = new CpuMemory();
  const { used } = memory;
  memory.scope(() => {
    for (let i = 0; i < 10; i++) memory.part(1000, () => memory.allocate(1e6));
  });
  expect(memory.used - used).toBeLessThan(1.1e6);
});

describe('a step for which there is no memory', () => {
  test.each([
    ['a model without attention', undefined],
    ['a hybrid', { numBlocks: 60, blockSize: 2 }],
  ])('is done in smaller ones, and nothing ends: %s', async (_, blocks) => {
    const rig = new Rig({ maxNumBatchedTokens: 64, snapshotInterval: 32 }, blocks);
    rig.executor.mostTokens = 5;
    rig.add('a', prompt(30), { maxTokens: 4 });
    rig.add('b', prompt(20, 1), { maxTokens: 6, n: 2 });
    await rig.finish();
    expect(rig.tokens.get('a')).toEqual([fakeAnswer(prompt(30), 4, blocks !== undefined)]);
    const b = fakeAnswer(prompt(20, 1), 6, blocks !== undefined);
    expect(rig.tokens.get('b')).toEqual([b, b]);
    expect(rig.engine.stats()).toMatchObject({ freeSlots: 3, recoveries: 0 });
    // Later ones need no trying.
    const before = rig.executor.batches.length;
    rig.add('c', prompt(10, 2), { maxTokens: 1 });
    await rig.finish();
    expect(rig.executor.batches.length - before).toBeLessThan(6);
  });

  test('a token that the executor could not choose has the same draw when it is chosen again', async () => {
    const rig = new Rig({ snapshotInterval: 100 }, undefined, true);
    rig.executor.mostTokens = 4;
    rig.add('a', prompt(6), { temperature: 1, seed: 3n, maxTokens: 2, ignoreEos: true });
    await rig.finish();
    const draws = rig.executor.batches.flatMap(({ sequences }) =>
      sequences.flatMap(({ sampling = [] }) => sampling.map(({ u }) => u)),
    );
    const [first, second] = new Set(draws);
    expect(draws.filter((u) => u === first).length).toBeGreaterThan(1);
    expect(draws.at(-1)).toBe(second);
    expect(new Set(draws).size).toBe(2);
  });

  test('not even of one token ends the request that needs it, and the engine continues', async () => {
    const rig = new Rig();
    rig.executor.mostTokens = 0;
    rig.add('a', prompt(4), { maxTokens: 2 });
    await rig.finish();
    expect(rig.ended.get('a')?.error).toBeInstanceOf(OutOfMemoryError);
    rig.executor.mostTokens = 64;
    rig.add('b', prompt(4), { maxTokens: 2 });
    await rig.finish();
    expect(rig.tokens.get('b')).toEqual([fakeAnswer(prompt(4), 2)]);
  });

  test('because of snapshots gets their memory', async () => {
    const rig = new Rig({ snapshotInterval: 1, prefixCacheBytes: 1e6 });
    rig.executor.mostSnapshots = 6;
    rig.add('a', prompt(4), { maxTokens: 4 });
    await rig.finish();
    rig.add('b', prompt(4, 1), { maxTokens: 4 });
    await rig.finish();
    expect(rig.tokens.get('a')).toEqual([fakeAnswer(prompt(4), 4)]);
    expect(rig.tokens.get('b')).toEqual([fakeAnswer(prompt(4, 1), 4)]);
    expect(rig.executor.snapshots).toBeLessThanOrEqual(6);
    expect(rig.engine.stats()).toMatchObject({ recoveries: 0, finishedRequests: { error: 0, length: 2 } });
  });
});

test('memory that can not grow is an error of its own, and what there is stays as it was', () => {
  const memory = new CpuMemory();
  const address = memory.allocate(64);
  memory.bytes[address] = 7;
  const grow = vi.spyOn(memory.memory, 'grow').mockImplementation(() => {
    throw new RangeError('WebAssembly.Memory.grow(): Unable to grow instance memory');
  });
  const { top } = memory;
  expect(() => memory.scope(() => memory.allocate(2 ** 30))).toThrow(OutOfMemoryError);
  grow.mockRestore();
  expect(memory.top).toBe(top);
  expect(memory.bytes[address]).toBe(7);
  memory.allocate(2 ** 20);
});

test('a group whose exchange broke off can be used again', () => {
  const memory = createGroupMemory(1);
  const group = new SharedMemoryGroup(memory, 0);
  failGroup(memory);
  expect(() => group.allReduce([Float32Array.of(1)])).toThrow(RankFailedError);
  resetGroup(memory);
  group.reset();
  const data = Float32Array.of(3);
  group.allReduce([data]);
  expect(data).toEqual(Float32Array.of(3));
});

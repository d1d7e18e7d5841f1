import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { GroupWatch } from '../../../src/engine/ranks/group-watch.ts';
import type { RankFailedError } from '../../../src/errors.ts';

const SECOND = 1000;

describe('the watch over ranks with GPUs', () => {
  let asked: number[] = [];
  let hung: RankFailedError[] = [];
  beforeEach(() => {
    vi.useFakeTimers();
    asked = [];
    hung = [];
  });
  afterEach(() => {
    vi.useRealTimers();
  });
  const watch = (size: number) =>
    new GroupWatch(size, { ask: (rank) => asked.push(rank), onHang: (error) => hung.push(error) }, 10 * SECOND);

  test('asks nothing as long as steps end in time, however many are under way', () => {
    const group = watch(2);
    group.begin();
    for (let i = 0; i < 20; i++) {
      group.begin();
      vi.advanceTimersByTime(9 * SECOND);
      group.end();
    }
    group.end();
    vi.advanceTimersByTime(100 * SECOND);
    expect([asked, hung]).toEqual([[], []]);
  });

  test('names the ranks that give no sign of life', () => {
    const group = watch(4);
    group.begin();
    vi.advanceTimersByTime(10 * SECOND);
    expect(asked).toEqual([0, 1, 2, 3]);
    group.answered(0);
    group.answered(2);
    vi.advanceTimersByTime(5 * SECOND);
    expect(hung.map(({ message }) => message)).toEqual([
      expect.stringMatching(/^Ranks 1 and 3 hung in a step, for 10 s\. .*MAMBA2_NCCL_TIMEOUT/),
    ]);
  });

  test('leaves a step alone that ends while ranks are asked', () => {
    const group = watch(2);
    group.begin();
    vi.advanceTimersByTime(12 * SECOND);
    group.end();
    vi.advanceTimersByTime(100 * SECOND);
    expect(hung).toEqual([]);
  });

  test('says so where all are alive, and their GPUs are not done', () => {
    const group = watch(2);
    group.begin();
    vi.advanceTimersByTime(10 * SECOND);
    group.answered(1);
    group.answered(0);
    vi.advanceTimersByTime(5 * SECOND);
    expect(hung[0].message).toMatch(/^The ranks' GPUs have not finished a step, for 10 s/);
  });

  test('counts the time of joining from when all are about to', () => {
    const group = watch(3);
    group.joins(0, 'joining');
    group.joins(1, 'joining');
    vi.advanceTimersByTime(100 * SECOND);
    group.joins(2, 'joining');
    vi.advanceTimersByTime(9 * SECOND);
    group.joins(2, 'joined');
    expect(hung).toEqual([]);
    vi.advanceTimersByTime(SECOND);
    expect(hung[0].message).toMatch(/^Ranks 0 and 1 found no way to the others' GPUs, for 10 s/);
  });
});

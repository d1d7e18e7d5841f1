import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Batcher } from '../../src/page/batcher.ts';

beforeEach(() => vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }));
afterEach(() => vi.useRealTimers());

test('hands over what came, in order, once a frame', () => {
  const batches: number[][] = [];
  const batcher = new Batcher<number>((items) => batches.push([...items]));
  for (let i = 0; i < 5; i++) {
    batcher.add(i);
    vi.advanceTimersByTime(8);
  }
  expect(batches).toEqual([
    [0, 1],
    [2, 3],
  ]);
  batcher.flush();
  batcher.flush();
  vi.advanceTimersByTime(1000);
  expect(batches).toEqual([[0, 1], [2, 3], [4]]);
});

test('rests twice as long as a hand-over takes, but not for ever', () => {
  let count = 0;
  let cost = 50;
  const batcher = new Batcher<number>(() => {
    count++;
    vi.advanceTimersByTime(cost);
  });
  const pauseAfter = () => {
    batcher.add(1);
    const before = count;
    let waited = 0;
    for (; count === before; waited++) vi.advanceTimersByTime(1);
    return waited;
  };
  expect(pauseAfter()).toBe(16);
  expect(pauseAfter()).toBe(100);
  cost = 5000;
  expect(pauseAfter()).toBe(100);
  expect(pauseAfter()).toBe(500);
});

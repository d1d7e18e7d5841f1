import { describe, expect, test } from 'vitest';
import { CompileTurns } from '../../../src/backends/webgpu/device/compile-turns.ts';

/** Work that ends when the test says so. */
class Task {
  hasBegun = false;
  readonly #done = Promise.withResolvers<string>();

  run = (): Promise<string> => {
    this.hasBegun = true;
    return this.#done.promise;
  };

  finish(): void {
    this.#done.resolve('done');
  }

  fail(): void {
    this.#done.reject(new Error('failed'));
  }
}

const soon = () => new Promise((resolve) => setTimeout(resolve));

describe('kernels that compile', () => {
  test('are so many at once, in order, whatever becomes of them', async () => {
    const turns = new CompileTurns(2);
    const tasks = Array.from({ length: 5 }, () => new Task());
    const results = Promise.allSettled(tasks.map(({ run }) => turns.take(run)));
    const begun = async () => {
      await soon();
      return tasks.map(({ hasBegun }) => hasBegun);
    };
    expect(await begun()).toEqual([true, true, false, false, false]);
    tasks[1].fail();
    expect(await begun()).toEqual([true, true, true, false, false]);
    for (const task of tasks) task.finish();
    expect((await results).map(({ status }) => status)).toEqual([
      'fulfilled',
      'rejected',
      ...Array(3).fill('fulfilled'),
    ]);
  });

  test('are waited for in the end, and those that wait are refused', async () => {
    const turns = new CompileTurns(1);
    const [first, second, third] = [new Task(), new Task(), new Task()];
    const running = turns.take(first.run);
    const waiting = turns.take(second.run);
    let isIdle = false;
    turns.end(new Error('enough'), () => {
      isIdle = true;
    });
    await expect(waiting).rejects.toThrow('enough');
    await expect(turns.take(third.run)).rejects.toThrow('enough');
    expect(isIdle).toBe(false);
    first.finish();
    expect(await running).toBe('done');
    expect(isIdle).toBe(true);
    expect([second, third].some(({ hasBegun }) => hasBegun)).toBe(false);
  });

  test('are none: then the end is now', () => {
    let isIdle = false;
    new CompileTurns().end(new Error('enough'), () => {
      isIdle = true;
    });
    expect(isIdle).toBe(true);
  });
});

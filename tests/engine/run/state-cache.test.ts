import { describe, expect, test } from 'vitest';
import { loadModel } from '../../../src/engine/load/load-model.ts';
import type { Executor } from '../../../src/engine/run/executor.ts';
import { ShapeError } from '../../../src/errors.ts';
import type { DTypeChoice } from '../../../src/tensor/dtype.ts';
import { few, grid } from '../../runs.ts';
import { GOLDEN } from '../golden-folder.ts';

const place = (id: number) => ({ id, length: 30, blocks: [] });
const ids = (count: number, seed = 1) => Array.from({ length: count }, (_, i) => (i * 37 + seed * 101) % 256);

async function withExecutor<T>(
  options: { dtype?: DTypeChoice; device?: 'cpu' | 'reference'; ranks?: number },
  run: (executor: Executor) => Promise<T>,
): Promise<T> {
  const { dtype = 'auto', device = 'cpu', ranks = 1 } = options;
  const { context } = await loadModel(GOLDEN, { dtype, device, tensorParallelSize: ranks, maxNumSeqs: 4 });
  try {
    return await run(context.executor);
  } finally {
    await context.executor.dispose();
  }
}

async function prefill(executor: Executor, slot: number, tokenIds: number[], numComputedTokens = 0) {
  return (await executor.execute({ sequences: [{ slot, numComputedTokens, tokenIds }], logits: 'all' })).logits;
}

describe.each(
  grid([
    ['reference', 'float32', 1],
    ['cpu', 'float32', 1],
    ['cpu', 'float32', 2],
    ['cpu', 'int8', 1],
    ['cpu', 'int8', 2],
  ] as const),
)('snapshots on %s, %s, %d ranks', (device, dtype, ranks) => {
  test('a sequence continues from one in any slot with the same bits', async () => {
    await withExecutor({ device, dtype, ranks }, async (executor) => {
      const tokenIds = ids(40);
      const whole = await prefill(executor, 0, tokenIds);
      await prefill(executor, 1, tokenIds.slice(0, 25));
      const commands = [
        { type: 'save', slot: 1, snapshot: 7 },
        { type: 'copy', from: 1, to: 2 },
      ] as const;
      expect((await executor.execute({ commands, sequences: [], logits: 'last' })).logits.length).toBe(0);
      await prefill(executor, 1, ids(9, 5));
      await prefill(executor, 3, ids(9, 6));
      const rest = tokenIds.slice(25);
      const after = whole.slice(25 * 256);
      const sequences = [3, 2].map((slot) => ({ slot, numComputedTokens: 25, tokenIds: rest }));
      const { logits: both } = await executor.execute({
        commands: [
          { type: 'load', snapshot: 7, slot: 3 },
          { type: 'release', snapshot: 7 },
        ],
        sequences,
        logits: 'all',
      });
      expect(both.slice(0, after.length)).toEqual(after);
      expect(both.slice(after.length)).toEqual(after);
    });
  });

  test('an exported state comes back in a model that was loaded anew, with the same bits', async () => {
    const tokenIds = ids(30);
    const [state, rest] = await withExecutor({ device, dtype, ranks }, async (executor) => {
      await prefill(executor, 2, tokenIds);
      await executor.execute({ commands: [{ type: 'save', slot: 2, snapshot: 1 }], sequences: [], logits: 'last' });
      return [await executor.exportState(place(1)), await prefill(executor, 2, ids(5, 2), 30)] as const;
    });
    await withExecutor({ device, dtype, ranks }, async (executor) => {
      await executor.importState(place(3), state);
      await executor.execute({ commands: [{ type: 'load', snapshot: 3, slot: 0 }], sequences: [], logits: 'last' });
      expect(await prefill(executor, 0, ids(5, 2), 30)).toEqual(rest);
    });
  });
});

describe('states', () => {
  test('go from any number of ranks to any other', async () => {
    const tokenIds = ids(30);
    const states: Float32Array[] = [];
    for (const ranks of few([1, 2, 4], 2)) {
      states.push(
        await withExecutor({ dtype: 'float32', ranks }, async (executor) => {
          await prefill(executor, 0, tokenIds);
          await executor.execute({ commands: [{ type: 'save', slot: 0, snapshot: 1 }], sequences: [], logits: 'last' });
          const state = await executor.exportState(place(1));
          await executor.importState(place(2), state);
          expect(await executor.exportState(place(2))).toEqual(state);
          return state;
        }),
      );
    }
    for (const state of states.slice(1)) {
      expect(state.length).toBe(states[0].length);
      // Sums over ranks round differently.
      const difference = state.reduce((most, value, i) => Math.max(most, Math.abs(value - states[0][i])), 0);
      expect(difference).toBeLessThan(1e-3);
    }
  });

  test('of another length are refused, and the ranks live on', async () => {
    for (const ranks of [1, 2]) {
      await withExecutor({ ranks }, async (executor) => {
        await expect(executor.importState(place(1), new Float32Array(7))).rejects.toThrow(ShapeError);
        expect((await prefill(executor, 0, [1])).length).toBe(256);
      });
    }
  });

  test('have the bytes that the ranks say', async () => {
    const one = await withExecutor({}, async ({ stateFootprint }) => stateFootprint);
    const two = await withExecutor({ ranks: 2 }, async ({ stateFootprint }) => stateFootprint);
    expect(one.bytes).toBe(4 * one.length);
    expect(two.length).toBe(one.length);
    expect(two.bytes).toBeGreaterThanOrEqual(one.bytes);
  });
});

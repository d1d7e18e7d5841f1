import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Checkpoint } from '../../src/checkpoint/checkpoint.ts';
import { singleProcess } from '../../src/distributed/process-group.ts';
import type { ChosenDevice } from '../../src/engine/ranks/devices.ts';
import { loadRank } from '../../src/engine/ranks/load-rank.ts';
import type { ModelRunner } from '../../src/engine/run/model-runner.ts';
import { DisposedError } from '../../src/errors.ts';
import type { StorageSetting } from '../../src/tensor/dtype.ts';
import { anySchedule } from '../layers/mixer-arbitraries.ts';
import { bits, concatenated, SeededRandom } from '../layers/seeded.ts';
import { runs } from '../runs.ts';

const GOLDEN = fileURLToPath(new URL('../goldens/mamba2/', import.meta.url));
const VOCAB = 256;
const SLOTS = 6;

async function loadRunner(device: ChosenDevice = 'reference', dtype: StorageSetting = 'stored'): Promise<ModelRunner> {
  const checkpoint = await Checkpoint.open(GOLDEN);
  try {
    const options = { name: 'golden', device, dtype, slots: SLOTS, checkFinite: false };
    return await loadRank(checkpoint, singleProcess, options);
  } finally {
    await checkpoint.close();
  }
}

function seededIds(count: number, seed: number): number[] {
  const random = new SeededRandom(seed);
  return Array.from({ length: count }, () => random.integer(0, VOCAB - 1));
}

/** All logits of a sequence that has the runner to itself. */
async function alone(runner: ModelRunner, tokenIds: readonly number[]): Promise<Float32Array> {
  const sequences = [{ slot: SLOTS - 1, numComputedTokens: 0, tokenIds }];
  return (await runner.execute({ sequences, logits: 'all' })).logits;
}

describe.each([
  ['reference', 'float32'],
  ['reference', 'int4'],
  ['cpu', 'float32'],
  ['cpu', 'bfloat16'],
  ['cpu', 'float16'],
  ['cpu', 'int8'],
  ['cpu', 'int4'],
] as const)('ModelRunner on %s with %s weights', (device, dtype) => {
  test('gives each sequence of any mixed batch what it gets alone, bit for bit', async () => {
    const runner = await loadRunner(device, dtype);
    await fc.assert(
      fc.asyncProperty(anySchedule, async ({ prompts, orders, seed }) => {
        const random = new SeededRandom(seed);
        const totals = prompts.map(({ pieces }) => pieces.reduce((sum, piece) => sum + piece, 0));
        const whole = totals.map((total, b) => seededIds(total, seed + b));
        const computed = prompts.map(() => 0);
        const found: Float32Array[][] = prompts.map(() => []);
        for (const round of orders.keys()) {
          const present = prompts.map((_, b) => b).sort(() => random.next() - 0.5);
          const sequences = present.map((b) => {
            const end = computed[b] + prompts[b].pieces[round];
            return { slot: b, numComputedTokens: computed[b], tokenIds: whole[b].slice(computed[b], end) };
          });
          const { logits } = await runner.execute({ sequences, logits: 'all' });
          let begin = 0;
          for (const [i, b] of present.entries()) {
            const length = sequences[i].tokenIds.length * VOCAB;
            found[b].push(logits.slice(begin, begin + length));
            begin += length;
            computed[b] += sequences[i].tokenIds.length;
          }
        }
        for (const b of prompts.keys()) {
          if (totals[b] === 0) continue;
          expect(bits(concatenated(found[b]))).toEqual(bits(await alone(runner, whole[b])));
        }
      }),
      { seed: 3, numRuns: runs(12) },
    );
  });
});

describe.each([
  ['reference', 'float32'],
  ['cpu', 'int8'],
] as const)('watched on %s with %s weights', (device, dtype) => {
  test('the logits keep their bits, and decays do not depend on the batch or on how a prompt is cut', async () => {
    const runner = await loadRunner(device, dtype);
    await fc.assert(
      fc.asyncProperty(anySchedule, async ({ prompts, orders, seed }) => {
        const random = new SeededRandom(seed);
        const totals = prompts.map(({ pieces }) => pieces.reduce((sum, piece) => sum + piece, 0));
        const whole = totals.map((total, b) => seededIds(total, seed + b));
        const computed = prompts.map(() => 0);
        const sums = prompts.map(() => new Float64Array(0));
        for (const round of orders.keys()) {
          const present = prompts.map((_, b) => b).sort(() => random.next() - 0.5);
          const sequences = present.map((b) => {
            const tokenIds = whole[b].slice(computed[b], computed[b] + prompts[b].pieces[round]);
            return { slot: b, numComputedTokens: computed[b], tokenIds, watch: b % 2 === 0 };
          });
          const unwatched = sequences.map((sequence) => ({ ...sequence, watch: false }));
          const commands = present.map((b) => ({ type: 'save', slot: b, snapshot: b }) as const);
          const restore = present.map((b) => ({ type: 'load', slot: b, snapshot: b }) as const);
          const release = present.map((b) => ({ type: 'release', snapshot: b }) as const);
          const plain = await runner.execute({ commands, sequences: unwatched, logits: 'all' });
          expect(plain.logDecays).toBeUndefined();
          const watched = await runner.execute({ commands: [...restore, ...release], sequences, logits: 'all' });
          expect(bits(watched.logits)).toEqual(bits(plain.logits));
          const { heads, sums: rows } = watched.logDecays ?? { heads: [], sums: new Float32Array() };
          const width = heads.reduce((sum, count) => sum + count, 0);
          for (const [i, b] of present.filter((b) => b % 2 === 0).entries()) {
            const row = rows.subarray(i * width, (i + 1) * width);
            sums[b] = Float64Array.from(row, (value, j) => value + (sums[b][j] ?? 0));
          }
          for (const [i, b] of present.entries()) computed[b] += sequences[i].tokenIds.length;
        }
        for (const b of prompts.keys()) {
          if (totals[b] === 0 || b % 2 === 1) continue;
          const sequences = [{ slot: SLOTS - 1, numComputedTokens: 0, tokenIds: whole[b], watch: true }];
          const { logDecays } = await runner.execute({ sequences, logits: 'last' });
          expect(logDecays?.sums.length).toBe(sums[b].length);
          logDecays?.sums.forEach((sum, i) => {
            expect(sums[b][i] / sum).toBeCloseTo(1, 5);
          });
        }
      }),
      { seed: 4, numRuns: runs(12) },
    );
  });
});

describe('ModelRunner', () => {
  test("returns each sequence's last row in the order given, whatever the row order", async () => {
    const runner = await loadRunner();
    const long = seededIds(9, 1);
    const next = seededIds(1, 2);
    await runner.execute({ sequences: [{ slot: 1, numComputedTokens: 0, tokenIds: long }], logits: 'last' });
    const sequences = [
      { slot: 0, numComputedTokens: 0, tokenIds: long.slice(0, 4) },
      { slot: 1, numComputedTokens: 9, tokenIds: next },
      { slot: 2, numComputedTokens: 0, tokenIds: next },
    ];
    const { logits: last } = await runner.execute({ sequences, logits: 'last' });
    const expected = [
      await alone(runner, long.slice(0, 4)),
      await alone(runner, [...long, ...next]),
      await alone(runner, next),
    ];
    expect(bits(last)).toEqual(bits(concatenated(expected.map((logits) => logits.slice(-VOCAB)))));
  });

  test('gives no row to a sequence without tokens', async () => {
    const runner = await loadRunner();
    const ids = seededIds(3, 1);
    const sequences = [
      { slot: 0, numComputedTokens: 0, tokenIds: ids },
      { slot: 1, numComputedTokens: 0, tokenIds: [] },
    ];
    const expected = (await alone(runner, ids)).slice(-VOCAB);
    for (const batch of [sequences, [...sequences].reverse()]) {
      expect((await runner.execute({ sequences: batch, logits: 'last' })).logits).toEqual(expected);
    }
  });

  test('throws DisposedError after disposal', async () => {
    const runner = await loadRunner();
    await runner.dispose();
    await expect(alone(runner, [1])).rejects.toThrow(DisposedError);
  });
});

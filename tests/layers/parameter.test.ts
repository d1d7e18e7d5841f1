import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ShapeError } from '../../src/errors.ts';
import { type Module, ParameterTable } from '../../src/layers/parameters/parameter.ts';
import { valuesSink } from '../../src/layers/parameters/row-sink.ts';
import {
  composedWeightLoader,
  loadShard,
  type RowRun,
  replicatedWeightLoader,
  shardedWeightLoader,
  stackedWeightLoader,
  type WeightLoader,
} from '../../src/layers/parameters/weight-loaders.ts';
import { elementCount } from '../../src/tensor/tensor.ts';

interface Case {
  readonly shape: readonly number[];
  readonly loader: WeightLoader;
}

/** A weight of some shape with any loader that serves it, for some rank. */
const cases: fc.Arbitrary<Case> = fc
  .record({
    ranks: fc.integer({ min: 1, max: 4 }),
    rank: fc.nat(3),
    units: fc.integer({ min: 1, max: 4 }),
    inner: fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 2 }),
    kind: fc.constantFrom('replicated', 'rows', 'columns', 'mapped', 'fused'),
  })
  .map(({ ranks, rank, units, inner, kind }) => {
    const own = rank % ranks;
    switch (kind) {
      case 'replicated':
        return { shape: [units, ...inner], loader: replicatedWeightLoader };
      case 'rows':
        return { shape: [units * ranks, ...inner], loader: shardedWeightLoader(0, ranks, own) };
      case 'columns':
        return { shape: [units, ranks * 2, ...inner], loader: shardedWeightLoader(1, ranks, own) };
      case 'mapped': {
        const loader = composedWeightLoader(shardedWeightLoader(0, ranks, own), (value) => -value);
        return { shape: [units * ranks, ...inner], loader };
      }
      default: {
        // One group that every rank repeats, between parts that are divided.
        const divided = { fullDim: units * ranks, extra: 0, blockSize: 1 };
        const group = { fullDim: 3 * ranks, extra: 3 * (ranks - 1), blockSize: 3 };
        const loader = stackedWeightLoader([divided, group, divided], ranks, own);
        return { shape: [2 * units * ranks + 3, ...inner], loader };
      }
    }
  });

function tableOf({ shape, loader }: Case): { table: ParameterTable; placed: Float32Array[] } {
  const placed: Float32Array[] = [];
  const held = loadShard(loader, new Float32Array(elementCount(shape)), shape).length;
  const place = () => valuesSink(held, (values) => placed.push(values));
  const module: Module = { parameters: () => [['weight', { role: 'projection', shape, loader, place }]] };
  return { table: new ParameterTable(module), placed };
}

describe('ParameterTable', () => {
  test('a weight that passes in blocks is the same as one that comes whole', async () => {
    await fc.assert(
      fc.asyncProperty(cases, fc.integer({ min: 1, max: 20 }), async (given, maxValues) => {
        const { shape } = given;
        const size = elementCount(shape.slice(1));
        const whole = Float32Array.from({ length: elementCount(shape) }, (_, i) => i + 1);
        const { table, placed } = tableOf(given);
        table.load('weight', whole);
        const blocks: RowRun[] = [];
        const scratch = new Float32Array(Math.max(maxValues, size));
        await table.stream('weight', maxValues, async (block) => {
          blocks.push(block);
          const rows = scratch.fill(0).subarray(0, block.rows * size);
          rows.set(whole.subarray(block.firstRow * size, (block.firstRow + block.rows) * size));
          return rows;
        });
        expect(placed[1]).toEqual(placed[0]);
        expect(blocks.every(({ rows }) => rows > 0 && (rows === 1 || rows * size <= maxValues))).toBe(true);
        expect(blocks.reduce((sum, { rows }) => sum + rows * size, 0)).toBe(table.valuesToRead('weight'));
        expect(whole).toEqual(Float32Array.from(whole, (_, i) => i + 1));
      }),
    );
  });

  test('rows of other ranks are not read', async () => {
    const { table } = tableOf({ shape: [12, 2], loader: shardedWeightLoader(0, 3, 1) });
    const blocks: RowRun[] = [];
    await table.stream('weight', 6, (block) => {
      blocks.push(block);
      return new Float32Array(block.rows * 2);
    });
    expect(blocks).toEqual([
      { firstRow: 4, rows: 3 },
      { firstRow: 7, rows: 1 },
    ]);
    expect(table.valuesToRead('weight')).toBe(8);
  });

  test('a whole weight of another size is refused', () => {
    const { table } = tableOf({ shape: [3, 2], loader: replicatedWeightLoader });
    expect(() => table.load('weight', new Float32Array(5))).toThrow(ShapeError);
  });
});

import { describe, expect, test } from 'vitest';
import { Checkpoint } from '../../../src/checkpoint/checkpoint.ts';
import { runs } from '../../runs.ts';
import { makeFolder } from '../folders.ts';
import { CASES, type QuantizationCase } from './cases.ts';
import { random } from './numbers.ts';
import type { Matrix } from './packers.ts';
import { bytesOf, rawSafetensors } from './raw-safetensors.ts';

/** A matrix with values of all sizes, and a few zeros. */
function matrix(rows: number, columns: number, seed: number): Matrix {
  const next = random(seed);
  const data = Float32Array.from({ length: rows * columns }, () =>
    next() < 0.02 ? 0 : (next() - 0.5) * 2 ** Math.floor(6 * next() - 6),
  );
  return { rows, columns, data };
}

/** A model of one layer, and a norm that stays as it is. */
async function openLayer({ config, files, pack }: QuantizationCase, weight: Matrix) {
  const { tensors, values } = pack('model.layers.0.proj', weight);
  const norm = { name: 'model.norm.weight', dtype: 'F32', shape: [3], bytes: bytesOf(Float32Array.of(1, 2, 3)) };
  const folder = await makeFolder({
    'config.json': { ...config },
    'model.safetensors': rawSafetensors([...tensors, norm]),
    ...files,
  });
  return { checkpoint: await Checkpoint.open(folder), values, tensors };
}

/** The first value that is not the double-precision one, rounded once. */
function firstDifference(found: Float32Array, expected: Float64Array): unknown {
  if (found.length !== expected.length) return { length: found.length };
  const at = found.findIndex((value, i) => value !== Math.fround(expected[i]));
  return at === -1 ? undefined : { at, found: found[at], expected: expected[at] };
}

function up(count: number, multiple: number): number {
  return multiple * Math.ceil(count / multiple);
}

describe.each(CASES)('$name', (quantized) => {
  const { columns: multiple = 1, rows: rowMultiple = 1 } = quantized;
  const shapes = [
    [17, 80],
    [9, 32],
    [8, 200],
    [40, 96],
    [1, 33],
    [3, 300],
    [300, 160],
    [64, 130],
    [257, 257],
  ].map(([rows, columns]) => [up(rows, rowMultiple), up(columns, multiple)]);

  test('every value is the one that the definition gives, whichever rows are read', async () => {
    for (const [seed, [rows, columns]] of shapes.slice(0, runs(30)).entries()) {
      const { checkpoint, values, tensors } = await openLayer(quantized, matrix(rows, columns, seed));
      const name = 'model.layers.0.proj.weight';
      expect(checkpoint.quantization?.problem).toBeUndefined();
      expect(checkpoint.names().toSorted()).toEqual([name, 'model.norm.weight']);
      expect(checkpoint.info(name).shape).toEqual([rows, columns]);
      expect(checkpoint.totalBytes).toBeLessThanOrEqual(tensors.reduce((sum, { bytes }) => sum + bytes.length, 12));
      expect(firstDifference(await checkpoint.readFloat32(name), values)).toBeUndefined();
      for (const [firstRow, count] of [
        [0, 1],
        [rows - 1, 1],
        [Math.floor(rows / 3), Math.ceil(rows / 2)],
        [1, 0],
      ]) {
        const some = values.slice(firstRow * columns, (firstRow + count) * columns);
        expect(firstDifference(await checkpoint.readFloat32(name, { firstRow, rows: count }), some)).toBeUndefined();
      }
      await checkpoint.close();
    }
  });
});

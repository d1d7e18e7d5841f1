import { describe, expect, test } from 'vitest';
import { UnsupportedDTypeError } from '../../src/errors.ts';
import { parseWeightDType, WEIGHT_DTYPES } from '../../src/tensor/dtype.ts';
import { roundToBfloat16, roundToFloat16 } from '../../src/tensor/float16.ts';
import {
  INT4_PART,
  QUANT_BLOCK,
  quantizeInt4,
  quantizeInt8,
  roundWeight,
  weightBytes,
} from '../../src/tensor/quantize.ts';
import { elementCount, formatShape } from '../../src/tensor/tensor.ts';
import { Inputs } from '../backends/suite/inputs.ts';

/** The blocks of each row, as they were and as they are. */
function blocks(before: Float32Array, after: Float32Array, columns: number): { before: number[]; after: number[] }[] {
  const out: { before: number[]; after: number[] }[] = [];
  for (let row = 0; row < before.length; row += columns) {
    for (let begin = row; begin < row + columns; begin += QUANT_BLOCK) {
      const end = Math.min(begin + QUANT_BLOCK, row + columns);
      out.push({ before: [...before.subarray(begin, end)], after: [...after.subarray(begin, end)] });
    }
  }
  return out;
}

function rounded(weight: Float32Array, columns: number, dtype: (typeof WEIGHT_DTYPES)[number]): Float32Array {
  const copy = weight.slice();
  roundWeight(copy, columns, dtype);
  return copy;
}

const errorOf = ({ before, after }: { before: number[]; after: number[] }) =>
  before.map((value, i) => after[i] - value);
const largestOf = (values: readonly number[]) => Math.max(...values.map(Math.abs));

describe('roundWeight', () => {
  const inputs = new Inputs(1);
  const columns = 75;
  const weight = inputs.normal(40 * columns);
  // A row of zeros, one of a single outlier a block, and one of huge and tiny magnitudes.
  weight.fill(0, 0, columns);
  weight[columns + 40] = -1000;
  for (let i = 0; i < columns; i++) weight[2 * columns + i] *= 10 ** ((i % 60) - 30);

  test('float32 changes nothing', () => {
    expect(rounded(weight, columns, 'float32')).toEqual(weight);
  });

  test('bfloat16 and float16 round each value', () => {
    expect(rounded(weight, columns, 'bfloat16')).toEqual(weight.map(roundToBfloat16));
    expect(rounded(weight, columns, 'float16')).toEqual(weight.map(roundToFloat16));
  });

  test('int8 is a bfloat16 times integers up to 127, within half a step', () => {
    const q = new Int8Array(QUANT_BLOCK);
    for (const { before, after } of blocks(weight, rounded(weight, columns, 'int8'), columns)) {
      const scale = quantizeInt8(Float32Array.from(before), q);
      expect(scale).toBe(roundToBfloat16(scale));
      expect(after).toEqual(before.map((_, i) => Math.fround(q[i] * scale)));
      expect(largestOf(errorOf({ before, after }))).toBeLessThanOrEqual((scale / 2) * (1 + 1e-5));
      if (scale > 0) expect(largestOf([...q.subarray(0, before.length)])).toBe(127);
    }
  });

  test('int4 is a bfloat16 times 16 levels times one of 16 factors per part', () => {
    const products = new Int8Array(QUANT_BLOCK);
    const factors = Array.from({ length: 16 }, (_, m) => m);
    for (const { before, after } of blocks(weight, rounded(weight, columns, 'int4'), columns)) {
      const scale = quantizeInt4(Float32Array.from(before), products);
      expect(scale).toBe(roundToBfloat16(scale));
      expect(after).toEqual(before.map((_, i) => Math.fround(products[i] * scale)));
      for (let begin = 0; begin < before.length; begin += INT4_PART) {
        const part = products.subarray(begin, Math.min(begin + INT4_PART, before.length));
        const fits = (m: number) => part.every((p) => (m === 0 ? p === 0 : p % m === 0 && p / m >= -8 && p / m <= 7));
        expect(factors.some(fits)).toBe(true);
      }
    }
  });

  test('int4 loses little more over a block than steps of max/7 would', () => {
    for (const block of blocks(weight, rounded(weight, columns, 'int4'), columns)) {
      const largest = largestOf(block.before);
      const step = largest / 7;
      const plain = block.before.map((value) => (step === 0 ? 0 : Math.round(value / step) * step - value));
      const squares = (errors: readonly number[]) => errors.reduce((sum, error) => sum + error ** 2, 0);
      // The scale keeps 8 bits, which the largest value feels most.
      expect(squares(errorOf(block))).toBeLessThanOrEqual(squares(plain) + (largest / 256) ** 2);
    }
  });

  test.each(WEIGHT_DTYPES)('%s: blocks never share a scale with another row', (dtype) => {
    const first = rounded(weight.slice(5 * columns, 6 * columns), columns, dtype);
    expect(rounded(weight, columns, dtype).slice(5 * columns, 6 * columns)).toEqual(first);
  });

  test.each(['float32', 'bfloat16', 'float16', 'int8'] as const)('%s: rounding twice changes nothing more', (dtype) => {
    const once = rounded(weight, columns, dtype);
    const twice = rounded(once, columns, dtype);
    const changed = (value: number, i: number) =>
      value !== once[i] && Math.abs(value - once[i]) > Math.abs(once[i]) * 1e-6;
    expect(twice.findIndex(changed)).toBe(-1);
  });

  test.each(WEIGHT_DTYPES)('%s: an empty matrix', (dtype) => {
    expect(rounded(new Float32Array(0), 0, dtype).length).toBe(0);
    expect(rounded(new Float32Array(0), 32, dtype).length).toBe(0);
  });
});

describe('sizes and names', () => {
  test('weightBytes counts short last blocks whole', () => {
    expect(weightBytes(3, 64, 'float32')).toBe(3 * 64 * 4);
    expect(weightBytes(3, 64, 'bfloat16')).toBe(3 * 64 * 2);
    expect(weightBytes(3, 64, 'float16')).toBe(3 * 64 * 4);
    expect(weightBytes(3, 128, 'int8')).toBe(3 * (128 + 4));
    expect(weightBytes(3, 130, 'int8')).toBe(3 * (256 + 8));
    expect(weightBytes(3, 64, 'int4')).toBe(3 * (64 + 6));
  });

  test('parseWeightDType knows the names and their short forms', () => {
    for (const dtype of WEIGHT_DTYPES) expect(parseWeightDType(dtype)).toBe(dtype);
    const aliases = ['fp32', 'f32', 'fp16', 'f16', 'half', 'bf16', 'q8', 'q4'];
    const meant = ['float32', 'float32', 'float16', 'float16', 'float16', 'bfloat16', 'int8', 'int4'];
    expect(aliases.map(parseWeightDType)).toEqual(meant);
  });

  test.each(['float64', 'auto', '', 'BF16', 'constructor', 'toString'])("parseWeightDType refuses '%s'", (name) => {
    expect(() => parseWeightDType(name)).toThrow(UnsupportedDTypeError);
  });

  test('elementCount and formatShape', () => {
    expect([[], [3], [2, 3, 4], [2, 0]].map(elementCount)).toEqual([1, 3, 24, 0]);
    expect(formatShape([3, 4])).toBe('(3, 4)');
  });
});

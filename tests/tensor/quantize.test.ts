import { describe, expect, test } from 'vitest';
import { UnsupportedDTypeError } from '../../src/errors.ts';
import { parseWeightDType, WEIGHT_DTYPES } from '../../src/tensor/dtype.ts';
import { roundToBfloat16, roundToFloat16 } from '../../src/tensor/float16.ts';
import { QUANT_BLOCK, roundWeight, weightBytes } from '../../src/tensor/quantize.ts';
import { elementCount, formatShape } from '../../src/tensor/tensor.ts';
import { Inputs } from '../backends/suite/inputs.ts';

/** The blocks of each row, as they were and as they are. */
function blocks(
  before: Float32Array,
  after: Float32Array,
  columns: number,
  dtype: keyof typeof QUANT_BLOCK,
): { before: number[]; after: number[] }[] {
  const out: { before: number[]; after: number[] }[] = [];
  for (let row = 0; row < before.length; row += columns) {
    for (let begin = row; begin < row + columns; begin += QUANT_BLOCK[dtype]) {
      const end = Math.min(begin + QUANT_BLOCK[dtype], row + columns);
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

/** Whether all values are whole multiples of one of the steps, between two levels. */
function isOnGrid(values: readonly number[], levels: readonly [number, number], steps: readonly number[]): boolean {
  return steps.some((step) =>
    values.every((value) => {
      const q = value / step;
      return Math.abs(q - Math.round(q)) < 1e-4 && Math.round(q) >= levels[0] && Math.round(q) <= levels[1];
    }),
  );
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

  test('int8 lies within half a step of the block, on its grid', () => {
    for (const block of blocks(weight, rounded(weight, columns, 'int8'), columns, 'int8')) {
      const step = largestOf(block.before) / 127;
      expect(largestOf(errorOf(block))).toBeLessThanOrEqual((step / 2) * (1 + 1e-5));
      if (step > 0) expect(isOnGrid(block.after, [-127, 127], [step])).toBe(true);
    }
  });

  test('int4 loses no more over a block than steps of max/7 would, on a grid of 16 levels', () => {
    for (const block of blocks(weight, rounded(weight, columns, 'int4'), columns, 'int4')) {
      const step = largestOf(block.before) / 7;
      const plain = block.before.map((value) => (step === 0 ? 0 : Math.round(value / step) * step - value));
      const squares = (errors: readonly number[]) => errors.reduce((sum, error) => sum + error ** 2, 0);
      expect(squares(errorOf(block))).toBeLessThanOrEqual(squares(plain) * (1 + 1e-5));
      if (step === 0) continue;
      const steps = [6.5, 6.75, 7, 7.25, 7.5, 7.75, 8, 8.25, 8.5].flatMap((divisor) =>
        [1, -1].map((sign) => (sign * largestOf(block.before)) / divisor),
      );
      expect(isOnGrid(block.after, [-8, 7], steps)).toBe(true);
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
  test('weightBytes counts the scales of short last blocks', () => {
    expect(weightBytes(3, 64, 'float32')).toBe(3 * 64 * 4);
    expect(weightBytes(3, 64, 'bfloat16')).toBe(3 * 64 * 2);
    expect(weightBytes(3, 64, 'float16')).toBe(3 * 64 * 4);
    expect(weightBytes(3, 64, 'int8')).toBe(3 * (64 + 8));
    expect(weightBytes(3, 130, 'int8')).toBe(3 * (130 + 16));
    expect(weightBytes(3, 64, 'int4')).toBe(3 * (32 + 8));
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

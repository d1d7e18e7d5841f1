import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { float16Table } from '../../src/tensor/float16.ts';
import { columnFactors, RandomBits, roundState, roundStateRandomly } from '../../src/tensor/state-dtype.ts';

const halves = [...float16Table()].filter(Number.isFinite).sort((a, b) => a - b);
const floats = fc.float({ noNaN: true, noDefaultInfinity: true, min: -70000, max: 70000 });

describe('rounding of states', () => {
  test('keeps what float16 has, and saturates beyond it', () => {
    for (const half of halves) {
      expect(roundState(half, 'float16')).toBe(half);
      for (const random of [0, -1, 0x7fffffff, -0x80000000]) {
        expect(Math.abs(roundStateRandomly(half, 'float16', random))).toBe(Math.abs(half));
      }
    }
    expect(roundState(1e9, 'float16')).toBe(65504);
    expect(roundState(-65530, 'float16')).toBe(-65504);
    expect(roundState(Number.NEGATIVE_INFINITY, 'float16')).toBe(-65504);
  });

  test('gives one of the two neighbours, the upper one as often as the value is near it', () => {
    fc.assert(
      fc.property(floats, fc.integer(), (value, random) => {
        const above = halves.find((half) => half >= value) ?? 65504;
        const below = halves.findLast((half) => half <= value) ?? -65504;
        expect([below, above]).toContain(roundStateRandomly(value, 'float16', random) + 0);
      }),
      { numRuns: 300 },
    );
    for (const dtype of ['float16', 'bfloat16'] as const) {
      const columns = columnFactors(256);
      let sum = 0;
      for (let position = 0; position < 100; position++) {
        const bits = new RandomBits(9, position, columns).ofRow(position % 7);
        for (let n = 0; n < 256; n++) sum += roundStateRandomly(1.00123, dtype, bits(n));
      }
      expect(Math.abs(sum / 25600 - 1.00123)).toBeLessThan(dtype === 'float16' ? 1e-5 : 1e-4);
    }
  });

  test('saturates in float16 alone, and keeps NaN', () => {
    const { POSITIVE_INFINITY: infinity } = Number;
    for (const random of [0, 1, -1, 0x7fffffff, -0x80000000]) {
      for (const value of [65504, 65519, 65520, 2 ** 115, 1e36, infinity]) {
        for (const sign of [1, -1]) {
          expect(roundState(sign * value, 'float16')).toBe(sign * 65504);
          expect(roundStateRandomly(sign * value, 'float16', random)).toBe(sign * 65504);
        }
      }
      for (const dtype of ['float16', 'bfloat16'] as const) {
        expect(roundState(Number.NaN, dtype)).toBeNaN();
        expect(roundStateRandomly(Number.NaN, dtype, random)).toBeNaN();
      }
      expect(roundStateRandomly(infinity, 'bfloat16', random)).toBe(infinity);
      expect(roundStateRandomly(-infinity, 'bfloat16', random)).toBe(-infinity);
    }
    expect(roundState(-infinity, 'bfloat16')).toBe(-infinity);
    // The last NaN, from whose bits a carry would make 0.
    const [last] = new Float32Array(Uint32Array.of(0x7fffffff).buffer);
    expect(roundState(last, 'bfloat16')).toBeNaN();
    expect(roundStateRandomly(last, 'bfloat16', -1)).toBeNaN();
  });

  test('has bits that differ by layer, position, row and column', () => {
    const columns = columnFactors(64);
    const row = (key: number, position: number, r: number) => {
      const of = new RandomBits(key, position, columns).ofRow(r);
      return Array.from({ length: 64 }, (_, n) => of(n));
    };
    const all = [row(1, 0, 0), row(2, 0, 0), row(1, 1, 0), row(1, 0, 1)].flat();
    expect(new Set(all).size).toBe(all.length);
    expect(row(1, 5, 3)).toEqual(row(1, 5, 3));
  });
});

import { describe, expect, test } from 'vitest';
import {
  bfloat16ToFloat32,
  float16Bits,
  float16ToFloat32,
  packFloat16,
  roundToBfloat16,
  roundToFloat16,
} from '../../src/tensor/float16.ts';

const allBits = Uint16Array.from({ length: 0x10000 }, (_, bits) => bits);
const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

function fromBits(bits: number): number {
  u32[0] = bits;
  return f32[0];
}

/** The float32 next to a positive one, up or down. */
function neighbour(value: number, step: 1 | -1): number {
  f32[0] = value;
  u32[0] += step;
  return f32[0];
}

/** A float16 from its fields, bit by bit. */
function decodeFloat16(bits: number): number {
  const digits = bits.toString(2).padStart(16, '0');
  const sign = digits[0] === '1' ? -1 : 1;
  const exponent = Number.parseInt(digits.slice(1, 6), 2);
  const fraction = Array.from(digits.slice(6)).reduce((sum, digit, i) => sum + Number(digit) * 0.5 ** (i + 1), 0);
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -14 : sign * (1 + fraction) * 2 ** (exponent - 15);
}

/** Fails at the first value that differs; -0 is not 0, NaN is NaN. */
function expectEach(count: number, actual: (i: number) => number, expected: (i: number) => number): void {
  for (let i = 0; i < count; i++)
    if (!Object.is(actual(i), expected(i))) expect([i, actual(i)]).toEqual([i, expected(i)]);
}

/** Each value of an ascending list, and each pair's midpoint and its surroundings, round to the nearest, ties to even. */
function expectNearestEven(ascending: readonly number[], round: (value: number) => number): void {
  for (let i = 0; i + 1 < ascending.length; i++) {
    const [low, high] = [ascending[i], ascending[i + 1]];
    const middle = (low + high) / 2;
    const cases: [number, number][] = [
      [low, low],
      [high, high],
      [middle, i % 2 === 0 ? low : high],
      [neighbour(middle, -1), low],
      [neighbour(middle, 1), high],
      [low * 0.75 + high * 0.25, low],
      [low * 0.25 + high * 0.75, high],
    ];
    for (const [value, nearest] of cases) {
      if (!Object.is(round(value), nearest)) expect([value, round(value)]).toEqual([value, nearest]);
      if (!Object.is(round(-value), -nearest)) expect([-value, round(-value)]).toEqual([-value, -nearest]);
    }
  }
}

describe('float16', () => {
  const values = float16ToFloat32(allBits);

  test('decodes all 65536 patterns', () => {
    expectEach(0x10000, (bits) => values[bits], decodeFloat16);
  });

  test('decodes the landmarks', () => {
    const landmarks = [0x0000, 0x8000, 0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001, 0x7c00, 0xfc00];
    const expected = [0, -0, 1, -2, 65504, 2 ** -14, 2 ** -24, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    expect([...float16ToFloat32(Uint16Array.from(landmarks))]).toEqual(expected);
  });

  test('rounding keeps all 65536 values', () => {
    expectEach(
      0x10000,
      (bits) => roundToFloat16(values[bits]),
      (bits) => values[bits],
    );
  });

  test('rounds to nearest even between all neighbours, subnormal ones too', () => {
    // Patterns 0 to 0x7bff ascend, and an even pattern has an even significand.
    expectNearestEven([...values.subarray(0, 0x7c00)], roundToFloat16);
  });

  test('becomes infinite from 65520 on', () => {
    const infinity = Number.POSITIVE_INFINITY;
    expect([65504, 65519, neighbour(65520, -1)].map(roundToFloat16)).toEqual([65504, 65504, 65504]);
    expect([65520, 65536, 3e38, infinity].map(roundToFloat16)).toEqual([infinity, infinity, infinity, infinity]);
    expect([-65519, -65520, -infinity].map(roundToFloat16)).toEqual([-65504, -infinity, -infinity]);
    expect(roundToFloat16(Number.NaN)).toBeNaN();
  });

  test('tiny values become 0 with their sign', () => {
    expect([2 ** -25, 2 ** -26, 1e-45, 0].map(roundToFloat16)).toEqual([0, 0, 0, 0]);
    expect([-(2 ** -25), -1e-45, -0].map(roundToFloat16)).toEqual([-0, -0, -0]);
    expect(roundToFloat16(neighbour(2 ** -25, 1))).toBe(2 ** -24);
  });

  test('bits are those of the rounded value', () => {
    const decoded = float16ToFloat32(allBits);
    for (let u = 0; u < 2 ** 32; u += 30011) {
      const value = fromBits(u);
      const bits = float16Bits(value);
      if (!Object.is(decoded[bits], roundToFloat16(value)))
        expect([value, bits]).toEqual([value, roundToFloat16(value)]);
    }
    expectEach(
      0x10000,
      (bits) => decoded[float16Bits(decoded[bits])],
      (bits) => decoded[bits],
    );
  });

  test('packs two a word', () => {
    const words = new Uint32Array(3);
    packFloat16(Float32Array.of(9, 1, -2, 0.5, 65504, 2 ** -24).subarray(1), words);
    expect([...words]).toEqual([0xc0003c00, 0x7bff3800, 0x0001]);
  });

  const f16round: unknown = Reflect.get(Math, 'f16round');
  test.skipIf(typeof f16round !== 'function')('agrees with Math.f16round, where there is one', () => {
    if (typeof f16round !== 'function') return;
    for (let u = 0; u < 2 ** 32; u += 30011) {
      const value = fromBits(u);
      if (!Object.is(roundToFloat16(value), f16round(value)))
        expect([value, roundToFloat16(value)]).toEqual([value, f16round(value)]);
    }
  });
});

describe('bfloat16', () => {
  const values = bfloat16ToFloat32(allBits);

  test('decodes all 65536 patterns', () => {
    const view = new DataView(new ArrayBuffer(4));
    expectEach(
      0x10000,
      (bits) => values[bits],
      (bits) => {
        view.setUint16(0, bits);
        return view.getFloat32(0);
      },
    );
  });

  test('any part of a buffer decodes, wherever it begins', () => {
    for (const begin of [0, 1, 2, 3]) {
      for (const end of [begin, begin + 1, 70, 71]) {
        const out = new Float32Array(80).fill(7);
        const decoded = bfloat16ToFloat32(allBits.subarray(begin, end), out.subarray(1, 1 + end - begin));
        expect(decoded).toEqual(values.subarray(begin, end));
        expect([out[0], out[1 + end - begin]]).toEqual([7, 7]);
      }
    }
  });

  test('rounding keeps all 65536 values', () => {
    expectEach(
      0x10000,
      (bits) => roundToBfloat16(values[bits]),
      (bits) => values[bits],
    );
  });

  test('rounds to nearest even between all neighbours, subnormal ones too', () => {
    // Patterns 0 to 0x7f7f ascend; every midpoint is a float32, because bfloat16 keeps half of a float32's bits.
    expectNearestEven([...values.subarray(0, 0x7f80)], roundToBfloat16);
  });

  test('becomes infinite past the middle between the largest value and the next power of 2', () => {
    expect(roundToBfloat16(fromBits(0x7f7f7fff))).toBe(fromBits(0x7f7f0000));
    expect(roundToBfloat16(fromBits(0x7f7f8000))).toBe(Number.POSITIVE_INFINITY);
    expect(roundToBfloat16(fromBits(0xff7f8000))).toBe(Number.NEGATIVE_INFINITY);
    expect(roundToBfloat16(Number.POSITIVE_INFINITY)).toBe(Number.POSITIVE_INFINITY);
    expect(roundToBfloat16(Number.NEGATIVE_INFINITY)).toBe(Number.NEGATIVE_INFINITY);
  });

  test('NaN stays NaN, whatever its payload', () => {
    for (const bits of [0x7f800001, 0x7fffffff, 0x7fc00000, 0xff800001, 0xffffffff]) {
      expect(roundToBfloat16(fromBits(bits))).toBeNaN();
    }
  });
});

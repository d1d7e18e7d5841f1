import { describe, expect, test } from 'vitest';
import { float16ToFloat32 } from '../../src/tensor/float16.ts';
import { E2M1, E4M3, E5M2, E8M0, UE4M3 } from '../../src/tensor/small-floats.ts';

/** Value of the fields of a code, from its binary digits. */
function decode(code: number, bits: number, exponentBits: number, bias: number): number {
  const digits = code.toString(2).padStart(bits, '0');
  const exponent = Number.parseInt(digits.slice(1, 1 + exponentBits), 2);
  const mantissa = Array.from(digits.slice(1 + exponentBits)).reduce((sum, digit, i) => sum + +digit / 2 ** (i + 1), 0);
  const magnitude = exponent === 0 ? mantissa * 2 ** (1 - bias) : (1 + mantissa) * 2 ** (exponent - bias);
  return digits[0] === '1' ? -magnitude : magnitude;
}

describe('small floats', () => {
  test('E2M1', () => {
    expect([...E2M1]).toEqual([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0, -0.5, -1, -1.5, -2, -3, -4, -6]);
  });

  test('E4M3 has no infinities', () => {
    for (let code = 0; code < 256; code++) {
      expect(E4M3[code]).toBe(code % 128 === 127 ? Number.NaN : decode(code, 8, 4, 7));
    }
    expect([E4M3[1], E4M3[0x38], E4M3[0x7e], E4M3[0xfe]]).toEqual([2 ** -9, 1, 448, -448]);
  });

  test('E5M2 is the upper half of a float16', () => {
    const halves = float16ToFloat32(Uint16Array.from({ length: 256 }, (_, code) => code << 8));
    expect(E5M2).toEqual(halves);
    expect(E5M2[0x7b]).toBe(57344);
  });

  test('E8M0 is exact down to its least value', () => {
    expect([E8M0[0], E8M0[126], E8M0[127], E8M0[254], E8M0[255]]).toEqual([2 ** -127, 0.5, 1, 2 ** 127, Number.NaN]);
    expect(E8M0.slice(1, 255).every((value, i) => value === 2 * E8M0[i])).toBe(true);
  });

  test('UE4M3 has no sign and no NaN', () => {
    for (let code = 0; code < 127; code++) expect(UE4M3[code]).toBe(E4M3[code]);
    expect([UE4M3[0x7f], UE4M3[0x80 | 0x38], UE4M3[0xff]]).toEqual([0, 1, 480]);
  });
});

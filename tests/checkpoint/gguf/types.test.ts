import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import {
  IQ1_GRID,
  IQ2_S_GRID,
  IQ2_XS_GRID,
  IQ2_XXS_GRID,
  IQ3_S_GRID,
  IQ3_XXS_GRID,
} from '../../../src/checkpoint/gguf/types/codebooks.ts';
import { readableTypes, tensorType } from '../../../src/checkpoint/gguf/types/registry.ts';

/**
 * Each type as its definition says it, in float64: the value at one place, from the bytes of its block. It shares nothing
 * with the code that it tests.
 */
interface Definition {
  readonly id: number;
  readonly values: number;
  readonly bytes: number;
  valueAt(block: Bits, i: number): number;
}

/** Fields of a block. */
class Bits {
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  byte(at: number): number {
    return this.#bytes[at];
  }

  signed(at: number): number {
    return (this.byte(at) << 24) >> 24;
  }

  /** `count` bits of a byte from bit `from` on. */
  bits(at: number, from: number, count: number): number {
    return Math.floor(this.byte(at) / 2 ** from) % 2 ** count;
  }

  /** IEEE 754 binary16. */
  half(at: number): number {
    const [exponent, fraction] = [this.bits(at + 1, 2, 5), this.bits(at + 1, 0, 2) * 256 + this.byte(at)];
    const sign = this.bits(at + 1, 7, 1) === 1 ? -1 : 1;
    if (exponent === 31) return fraction === 0 ? sign / 0 : Number.NaN;
    return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
  }
}

/** The nibble of value i in 16 bytes that hold 32 values. */
const nibble = (block: Bits, qs: number, i: number) => block.bits(qs + (i % 16), i < 16 ? 0 : 4, 4);
/** Bit i of a bit field. */
const bit = (block: Bits, at: number, i: number) => block.bits(at + Math.floor(i / 8), i % 8, 1);

/** A code of 6 bits of the 12 bytes of Q4_K and Q5_K: scale g is code g, minimum g is code 8 + g. */
function sixBits(block: Bits, at: number, kind: 'scale' | 'minimum', g: number): number {
  if (g < 4) return block.bits(at + g + (kind === 'scale' ? 0 : 4), 0, 6);
  const low = block.bits(at + g + 4, kind === 'scale' ? 0 : 4, 4);
  const high = block.bits(at + (kind === 'scale' ? g - 4 : g), 6, 2);
  return low + 16 * high;
}

const IQ4_LEVELS = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
const E2M1_VALUES = [0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6];

const CODEBOOKS = { IQ1_GRID, IQ2_S_GRID, IQ2_XS_GRID, IQ2_XXS_GRID, IQ3_S_GRID, IQ3_XXS_GRID };

/** `count` bits of a bit field from bit `from` on, lowest first. */
function field(block: Bits, at: number, from: number, count: number): number {
  return Array.from({ length: count }, (_, i) => bit(block, at, from + i) * 2 ** i).reduce((sum, value) => sum + value);
}

/** Sign of value i of eight, of which the last has what makes the number of negative ones even. */
function evenSign(seven: number, i: number): number {
  const bits = Array.from({ length: 7 }, (_, j) => Math.floor(seven / 2 ** j) % 2);
  const last = bits.reduce((sum, value) => sum + value) % 2;
  return [...bits, last][i] === 1 ? -1 : 1;
}

const DEFINITIONS: Readonly<Record<string, Definition>> = {
  Q4_0: { id: 2, values: 32, bytes: 18, valueAt: (b, i) => (nibble(b, 2, i) - 8) * b.half(0) },
  Q4_1: { id: 3, values: 32, bytes: 20, valueAt: (b, i) => nibble(b, 4, i) * b.half(0) + b.half(2) },
  Q5_0: {
    id: 6,
    values: 32,
    bytes: 22,
    valueAt: (b, i) => (nibble(b, 6, i) + 16 * bit(b, 2, i) - 16) * b.half(0),
  },
  Q5_1: {
    id: 7,
    values: 32,
    bytes: 24,
    valueAt: (b, i) => (nibble(b, 8, i) + 16 * bit(b, 4, i)) * b.half(0) + b.half(2),
  },
  Q8_0: { id: 8, values: 32, bytes: 34, valueAt: (b, i) => b.signed(2 + i) * b.half(0) },
  Q2_K: {
    id: 10,
    values: 256,
    bytes: 84,
    valueAt: (b, i) => {
      const q = b.bits(16 + 32 * Math.floor(i / 128) + (i % 32), 2 * (Math.floor(i / 32) % 4), 2);
      const group = Math.floor(i / 16);
      return b.half(80) * b.bits(group, 0, 4) * q - b.half(82) * b.bits(group, 4, 4);
    },
  },
  Q3_K: {
    id: 11,
    values: 256,
    bytes: 110,
    valueAt: (b, i) => {
      const low = b.bits(32 + 32 * Math.floor(i / 128) + (i % 32), 2 * (Math.floor(i / 32) % 4), 2);
      const q = low + 4 * b.bits(i % 32, Math.floor(i / 32), 1) - 4;
      const group = Math.floor(i / 16);
      const scale =
        b.bits(96 + (group % 8), group < 8 ? 0 : 4, 4) + 16 * b.bits(104 + (group % 4), 2 * Math.floor(group / 4), 2);
      return b.half(108) * (scale - 32) * q;
    },
  },
  Q4_K: {
    id: 12,
    values: 256,
    bytes: 144,
    valueAt: (b, i) => {
      const group = Math.floor(i / 32);
      const q = b.bits(16 + 32 * Math.floor(group / 2) + (i % 32), 4 * (group % 2), 4);
      return b.half(0) * sixBits(b, 4, 'scale', group) * q - b.half(2) * sixBits(b, 4, 'minimum', group);
    },
  },
  Q5_K: {
    id: 13,
    values: 256,
    bytes: 176,
    valueAt: (b, i) => {
      const group = Math.floor(i / 32);
      const q =
        b.bits(48 + 32 * Math.floor(group / 2) + (i % 32), 4 * (group % 2), 4) + 16 * b.bits(16 + (i % 32), group, 1);
      return b.half(0) * sixBits(b, 4, 'scale', group) * q - b.half(2) * sixBits(b, 4, 'minimum', group);
    },
  },
  Q6_K: {
    id: 14,
    values: 256,
    bytes: 210,
    valueAt: (b, i) => {
      const [part, place] = [Math.floor(i / 128), i % 128];
      const low = b.bits(64 * part + (place % 64), place < 64 ? 0 : 4, 4);
      const high = b.bits(128 + 32 * part + (place % 32), 2 * Math.floor(place / 32), 2);
      return b.half(208) * b.signed(192 + Math.floor(i / 16)) * (low + 16 * high - 32);
    },
  },
  IQ4_NL: { id: 20, values: 32, bytes: 18, valueAt: (b, i) => IQ4_LEVELS[nibble(b, 2, i)] * b.half(0) },
  IQ4_XS: {
    id: 23,
    values: 256,
    bytes: 136,
    valueAt: (b, i) => {
      const group = Math.floor(i / 32);
      const scale =
        b.bits(4 + Math.floor(group / 2), 4 * (group % 2), 4) +
        16 * b.bits(2 + Math.floor(group / 4), 2 * (group % 4), 2);
      return b.half(0) * (scale - 32) * IQ4_LEVELS[nibble(b, 8 + 16 * group, i % 32)];
    },
  },
  MXFP4: { id: 39, values: 32, bytes: 17, valueAt: (b, i) => E2M1_VALUES[nibble(b, 1, i)] * 2 ** (b.byte(0) - 127) },
  NVFP4: {
    id: 40,
    values: 64,
    bytes: 36,
    valueAt: (b, i) => {
      const [group, place] = [Math.floor(i / 16), i % 16];
      const [exponent, fraction] = [b.bits(group, 3, 4), b.bits(group, 0, 3)];
      const isNone = exponent === 15 && fraction === 7;
      const scale = exponent === 0 ? fraction * 2 ** -9 : (8 + fraction) * 2 ** (exponent - 10);
      const code = b.bits(4 + 8 * group + (place % 8), place < 8 ? 0 : 4, 4);
      // The upper bit of the code is not looked at, except that with it 0x7f is a number.
      return E2M1_VALUES[code] * (isNone && b.bits(group, 7, 1) === 0 ? 0 : scale);
    },
  },
  IQ2_XXS: {
    id: 16,
    values: 256,
    bytes: 66,
    valueAt: (b, i) => {
      const [at, eight] = [2 + 8 * Math.floor(i / 32), Math.floor(i / 8) % 4];
      const scale = (field(b, at + 4, 28, 4) + 0.5) / 4;
      const sign = evenSign(field(b, at + 4, 7 * eight, 7), i % 8);
      return b.half(0) * scale * IQ2_XXS_GRID[8 * b.byte(at + eight) + (i % 8)] * sign;
    },
  },
  IQ2_XS: {
    id: 17,
    values: 256,
    bytes: 74,
    valueAt: (b, i) => {
      const eight = Math.floor(i / 8);
      const scale = (field(b, 66, 4 * Math.floor(i / 16), 4) + 0.5) / 4;
      const sign = evenSign(field(b, 2, 16 * eight + 9, 7), i % 8);
      return b.half(0) * scale * IQ2_XS_GRID[8 * field(b, 2, 16 * eight, 9) + (i % 8)] * sign;
    },
  },
  IQ3_XXS: {
    id: 18,
    values: 256,
    bytes: 98,
    valueAt: (b, i) => {
      const at = 66 + 4 * Math.floor(i / 32);
      const scale = (field(b, at, 28, 4) + 0.5) / 2;
      const sign = evenSign(field(b, at, 7 * (Math.floor(i / 8) % 4), 7), i % 8);
      return b.half(0) * scale * IQ3_XXS_GRID[4 * b.byte(2 + Math.floor(i / 4)) + (i % 4)] * sign;
    },
  },
  IQ1_S: {
    id: 19,
    values: 256,
    bytes: 50,
    valueAt: (b, i) => {
      const [eight, at] = [Math.floor(i / 8), 34 + 2 * Math.floor(i / 32)];
      const point = b.byte(2 + eight) + 256 * field(b, at, 3 * (eight % 4), 3);
      const delta = bit(b, at, 15) === 1 ? -1 / 8 : 1 / 8;
      return b.half(0) * (2 * field(b, at, 12, 3) + 1) * (IQ1_GRID[8 * point + (i % 8)] + delta);
    },
  },
  IQ3_S: {
    id: 21,
    values: 256,
    bytes: 110,
    valueAt: (b, i) => {
      const four = Math.floor(i / 4);
      const scale = 2 * field(b, 106, 4 * Math.floor(i / 32), 4) + 1;
      const point = b.byte(2 + four) + 256 * bit(b, 66, four);
      return b.half(0) * scale * IQ3_S_GRID[4 * point + (i % 4)] * (bit(b, 74, i) === 1 ? -1 : 1);
    },
  },
  IQ2_S: {
    id: 22,
    values: 256,
    bytes: 82,
    valueAt: (b, i) => {
      const eight = Math.floor(i / 8);
      const scale = (field(b, 74, 4 * Math.floor(i / 16), 4) + 0.5) / 4;
      const point = b.byte(2 + eight) + 256 * field(b, 66, 2 * eight, 2);
      return b.half(0) * scale * IQ2_S_GRID[8 * point + (i % 8)] * (bit(b, 34, i) === 1 ? -1 : 1);
    },
  },
  IQ1_M: {
    id: 29,
    values: 256,
    bytes: 56,
    valueAt: (b, i) => {
      const eight = Math.floor(i / 8);
      const bits = [0, 1, 2, 3].map((word) => field(b, 48, 16 * word + 12, 4));
      const d = new Bits(Uint8Array.of(bits[0] + 16 * bits[1], bits[2] + 16 * bits[3])).half(0);
      const scale = 2 * field(b, 48, 16 * Math.floor(i / 64) + 3 * (Math.floor(i / 16) % 4), 3) + 1;
      const point = b.byte(eight) + 256 * field(b, 32, 4 * eight, 3);
      const delta = bit(b, 32, 4 * eight + 3) === 1 ? -1 / 8 : 1 / 8;
      return d * scale * (IQ1_GRID[8 * point + (i % 8)] + delta);
    },
  },
  F32: { id: 0, values: 1, bytes: 4, valueAt: () => 0 },
  F16: { id: 1, values: 1, bytes: 2, valueAt: (b) => b.half(0) },
  BF16: { id: 30, values: 1, bytes: 2, valueAt: () => 0 },
  F64: { id: 28, values: 1, bytes: 8, valueAt: () => 0 },
};

/** Bytes of blocks as chance has them: every scale and code occurs, infinities and NaN too. */
function randomBytes(count: number): Uint8Array<ArrayBuffer> {
  let state = 1;
  return Uint8Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 24;
  });
}

describe('values of a block', () => {
  const blocks = 200;
  const plain = ['F32', 'BF16', 'F64'];

  test.each(Object.entries(DEFINITIONS).filter(([name]) => !plain.includes(name)))(
    '%s are those of its definition, to the bit',
    (name, { id, values, bytes, valueAt }) => {
      const type = tensorType(id);
      expect(type).toMatchObject({ name, blockValues: values, blockBytes: bytes });
      const data = randomBytes(blocks * bytes);
      const found = new Float32Array(blocks * values);
      type?.dequantize?.(data, blocks, found);
      const expected = Float32Array.from(found, (_, i) => {
        const block = Math.floor(i / values);
        return valueAt(new Bits(data.subarray(block * bytes, (block + 1) * bytes)), i % values);
      });
      // toEqual distinguishes 0 and -0.
      expect(found).toEqual(expected);
    },
  );

  test.each([
    ['F32', new Float32Array([1.5, -0, 3e-40]), [1.5, -0, 3e-40]],
    ['F64', new Float64Array([0.1, 1e300, -2]), [0.1, Number.POSITIVE_INFINITY, -2]],
    ['BF16', new Uint16Array([0x3f80, 0xc000, 0x7f80]), [1, -2, Number.POSITIVE_INFINITY]],
  ])('%s are numbers of their own', (name, data, expected) => {
    const out = new Float32Array(3);
    tensorType(DEFINITIONS[name].id)?.dequantize?.(new Uint8Array(data.buffer), 3, out);
    expect(out).toEqual(Float32Array.from(expected));
  });

  test.each([
    ['IQ2_XXS_GRID', '05826b5d3e472a3a78f196be62ac78acf81df0f909626e12ab9fa2a5d490dd54'],
    ['IQ2_XS_GRID', '06e47aaca60b4dc1d9b5a3f34540437058a6b142b4d7a59d5ded769b4d1bf1de'],
    ['IQ2_S_GRID', 'e1aa1473412b0552c2174c30ef22ab4073f6a181b85a17056e8249bd2932fd88'],
    ['IQ3_XXS_GRID', '46e35f5a997efdee6c99ce57854c8a0d4f0ff8ca57e5e8a60c0793ea580acf5d'],
    ['IQ3_S_GRID', 'bd1af4945a1717c65610b0284e4628b9a1ba3b306fae3a06f6e5f597356e349f'],
    ['IQ1_GRID', '07540ffc1aeaf6ad4d97e96b0fcc765aae39671d4ae4a27bbd0e796fde167c6a'],
  ] as const)('use the codebook %s as gguf-py 0.19 has it', (name, hash) => {
    expect(createHash('sha256').update(CODEBOOKS[name]).digest('hex')).toBe(hash);
  });

  test('are defined for each type that can be read', () => {
    expect(readableTypes().sort()).toEqual(Object.keys(DEFINITIONS).sort());
  });
});

import { float16Table } from '../../../tensor/float16.ts';
import { IQ1_GRID, IQ2_S_GRID, IQ2_XS_GRID, IQ2_XXS_GRID, IQ3_S_GRID, IQ3_XXS_GRID } from './codebooks.ts';
import type { TensorType } from './tensor-type.ts';

/**
 * Blocks of 256 values, 8 or 4 of which are a point of a codebook. Groups of 32 or 16 have a scale of 3 or 4 bits. In IQ2
 * and IQ3 points have no signs: a byte has those of 8 values. Where seven bits stand for it, the eighth makes the number of
 * negative values even.
 *
 * Products of a float16, a scale and a level have at most 24 bits, so nothing rounds.
 */

/** Bytes: d 2, then for each group of 32 four points, and signs 7 · 4 and scale 4 in 32 bits. */
export const IQ2_XXS: TensorType = {
  name: 'IQ2_XXS',
  blockValues: 256,
  blockBytes: 66,
  dequantize: (bytes, blocks, out) => {
    const half = float16Table();
    for (let block = 0, at = 0, y = 0; block < blocks; block++, at += 66) {
      const d = half[uint16(bytes, at)];
      for (let group = at + 2; group < at + 66; group += 8) {
        const dl = (d * (0.5 + (bytes[group + 7] >> 4))) / 4;
        const signs = uint32(bytes, group + 4);
        for (let part = 0; part < 4; part++, y += 8) {
          write8(out, y, dl, IQ2_XXS_GRID, 8 * bytes[group + part], evenSigns((signs >>> (7 * part)) & 127));
        }
      }
    }
  },
};

/** Bytes: d 2, 32 times a point of 9 bits and signs of 7 in 16, scales of groups of 16 8. */
export const IQ2_XS: TensorType = {
  name: 'IQ2_XS',
  blockValues: 256,
  blockBytes: 74,
  dequantize: (bytes, blocks, out) => {
    const half = float16Table();
    for (let block = 0, at = 0, y = 0; block < blocks; block++, at += 74) {
      const d = half[uint16(bytes, at)];
      for (let part = 0; part < 32; part++, y += 8) {
        const dl = (d * (0.5 + nibble(bytes, at + 66, part >> 1))) / 4;
        const code = uint16(bytes, at + 2 + 2 * part);
        write8(out, y, dl, IQ2_XS_GRID, 8 * (code & 511), evenSigns(code >> 9));
      }
    }
  },
};

/** Bytes: d 2, lower 8 bits of points 32, signs 32, upper 2 bits of points 8, scales of groups of 16 8. */
export const IQ2_S: TensorType = {
  name: 'IQ2_S',
  blockValues: 256,
  blockBytes: 82,
  dequantize: (bytes, blocks, out) => {
    const half = float16Table();
    for (let block = 0, at = 0, y = 0; block < blocks; block++, at += 82) {
      const d = half[uint16(bytes, at)];
      for (let part = 0; part < 32; part++, y += 8) {
        const dl = (d * (0.5 + nibble(bytes, at + 74, part >> 1))) / 4;
        const high = (bytes[at + 66 + (part >> 2)] >> (2 * (part & 3))) & 3;
        const point = bytes[at + 2 + part] | (high << 8);
        write8(out, y, dl, IQ2_S_GRID, 8 * point, bytes[at + 34 + part]);
      }
    }
  },
};

/** Bytes: d 2, points 64, for each group of 32 signs 7 · 4 and scale 4 in 32 bits. */
export const IQ3_XXS: TensorType = {
  name: 'IQ3_XXS',
  blockValues: 256,
  blockBytes: 98,
  dequantize: (bytes, blocks, out) => {
    const half = float16Table();
    for (let block = 0, at = 0, y = 0; block < blocks; block++, at += 98) {
      const d = half[uint16(bytes, at)];
      for (let part = 0; part < 32; part++, y += 8) {
        const group = at + 66 + 4 * (part >> 2);
        const dl = (d * (0.5 + (bytes[group + 3] >> 4))) / 2;
        const signs = evenSigns((uint32(bytes, group) >>> (7 * (part & 3))) & 127);
        write4(out, y, dl, IQ3_XXS_GRID, 4 * bytes[at + 2 + 2 * part], signs);
        write4(out, y + 4, dl, IQ3_XXS_GRID, 4 * bytes[at + 3 + 2 * part], signs >> 4);
      }
    }
  },
};

/** Bytes: d 2, lower 8 bits of points 64, their ninth bits 8, signs 32, scales of groups of 32 4. */
export const IQ3_S: TensorType = {
  name: 'IQ3_S',
  blockValues: 256,
  blockBytes: 110,
  dequantize: (bytes, blocks, out) => {
    const half = float16Table();
    for (let block = 0, at = 0, y = 0; block < blocks; block++, at += 110) {
      const d = half[uint16(bytes, at)];
      for (let part = 0; part < 32; part++, y += 8) {
        const dl = d * (1 + 2 * nibble(bytes, at + 106, part >> 2));
        const signs = bytes[at + 74 + part];
        const high = bytes[at + 66 + (part >> 2)] >> (2 * (part & 3));
        const first = bytes[at + 2 + 2 * part] | ((high & 1) << 8);
        const second = bytes[at + 3 + 2 * part] | ((high & 2) << 7);
        write4(out, y, dl, IQ3_S_GRID, 4 * first, signs);
        write4(out, y + 4, dl, IQ3_S_GRID, 4 * second, signs >> 4);
      }
    }
  },
};

/** What IQ1's values are off the points, which are -1, 0 and 1; the sign is the group's. */
const IQ1_DELTA = 0.125;

/** Bytes: d 2, lower 8 bits of points 32, for each group of 32 upper bits 3 · 4, scale 3, sign 1 in 16 bits. */
export const IQ1_S: TensorType = {
  name: 'IQ1_S',
  blockValues: 256,
  blockBytes: 50,
  dequantize: (bytes, blocks, out) => {
    const half = float16Table();
    for (let block = 0, at = 0, y = 0; block < blocks; block++, at += 50) {
      const d = half[uint16(bytes, at)];
      for (let part = 0; part < 32; part++, y += 8) {
        const high = uint16(bytes, at + 34 + 2 * (part >> 2));
        const dl = d * (2 * ((high >> 12) & 7) + 1);
        const delta = high & 0x8000 ? -IQ1_DELTA : IQ1_DELTA;
        const point = 8 * (bytes[at + 2 + part] | (((high >> (3 * (part & 3))) & 7) << 8));
        for (let j = 0; j < 8; j++) out[y + j] = dl * (IQ1_GRID[point + j] + delta);
      }
    }
  },
};

/**
 * Bytes: lower 8 bits of points 32, for each point upper bits 3 and sign 1 in 4 bits 16, scales 8: in each of four words of
 * 16 bits the scales of four groups of 16, and 4 bits of d.
 */
export const IQ1_M: TensorType = {
  name: 'IQ1_M',
  blockValues: 256,
  blockBytes: 56,
  dequantize: (bytes, blocks, out) => {
    const half = float16Table();
    for (let block = 0, at = 0, y = 0; block < blocks; block++, at += 56) {
      const scales = at + 48;
      const [low, high] = [bytes[scales + 1] >> 4, bytes[scales + 3] >> 4];
      const d = half[low | (high << 4) | ((bytes[scales + 5] >> 4) << 8) | ((bytes[scales + 7] >> 4) << 12)];
      for (let part = 0; part < 32; part++, y += 8) {
        const scale = (uint16(bytes, scales + 2 * (part >> 3)) >> (3 * ((part >> 1) & 3))) & 7;
        const dl = d * (2 * scale + 1);
        const code = nibble(bytes, at + 32, part);
        const delta = code & 8 ? -IQ1_DELTA : IQ1_DELTA;
        const point = 8 * (bytes[at + part] | ((code & 7) << 8));
        for (let j = 0; j < 8; j++) out[y + j] = dl * (IQ1_GRID[point + j] + delta);
      }
    }
  },
};

function uint16(bytes: Uint8Array, at: number): number {
  return bytes[at] | (bytes[at + 1] << 8);
}

function uint32(bytes: Uint8Array, at: number): number {
  return uint16(bytes, at) | (uint16(bytes, at + 2) << 16);
}

/** Number i of 4 bits, two a byte, the first in the lower half. */
function nibble(bytes: Uint8Array, at: number, i: number): number {
  return (bytes[at + (i >> 1)] >> (4 * (i & 1))) & 15;
}

/** Eight signs of which seven are given: an even number of them is set. */
function evenSigns(seven: number): number {
  let parity = seven ^ (seven >> 4);
  parity ^= parity >> 2;
  parity ^= parity >> 1;
  return seven | ((parity & 1) << 7);
}

/** A point of eight values, negative where a bit of `signs` is set. */
function write8(out: Float32Array, y: number, scale: number, grid: Int8Array, point: number, signs: number): void {
  for (let j = 0; j < 8; j++) out[y + j] = (signs >> j) & 1 ? -scale * grid[point + j] : scale * grid[point + j];
}

/** A point of four values. */
function write4(out: Float32Array, y: number, scale: number, grid: Int8Array, point: number, signs: number): void {
  for (let j = 0; j < 4; j++) out[y + j] = (signs >> j) & 1 ? -scale * grid[point + j] : scale * grid[point + j];
}

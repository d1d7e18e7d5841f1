import { float16Table } from '../../../tensor/float16.ts';
import type { TensorType } from './tensor-type.ts';

/**
 * Blocks of 256 values in groups of 16 or 32. A group has a small integer as its scale, and in Q2_K, Q4_K and Q5_K
 * another one as its minimum, which are multiples of the block's float16 numbers d and dmin:
 * value = d · scale · q - dmin · minimum.
 *
 * Products of a float16, a scale and q have at most 24 bits, so they are exact in float32. Only the difference rounds.
 */

/** Groups of 16, q of 2 bits; scale and minimum are 4 bits of one byte. Bytes: scales 16, qs 64, d 2, dmin 2. */
export const Q2_K: TensorType = {
  name: 'Q2_K',
  blockValues: 256,
  blockBytes: 84,
  dequantize: (bytes, blocks, out) => {
    const half = float16Table();
    for (let block = 0, at = 0, y = 0; block < blocks; block++, at += 84) {
      const d = half[bytes[at + 80] | (bytes[at + 81] << 8)];
      const dmin = half[bytes[at + 82] | (bytes[at + 83] << 8)];
      for (let group = 0; group < 16; group++, y += 16) {
        const scale = bytes[at + group];
        const dl = d * (scale & 15);
        const ml = dmin * (scale >> 4);
        // A byte holds a value of each of four pairs of groups.
        const qs = at + 16 + 32 * (group >> 3) + 16 * (group & 1);
        const shift = group & 6;
        for (let j = 0; j < 16; j++) out[y + j] = dl * ((bytes[qs + j] >> shift) & 3) - ml;
      }
    }
  },
};

/**
 * Groups of 16, q of 3 bits: two in `qs` as in Q2_K, and one in `hmask`, without which 4 is subtracted. Scales are 6 bits
 * less 32: the lower 4 in the first 8 bytes of `scales`, the upper 2 in the other 4. Bytes: hmask 32, qs 64, scales 12,
 * d 2.
 */
export const Q3_K: TensorType = {
  name: 'Q3_K',
  blockValues: 256,
  blockBytes: 110,
  dequantize: (bytes, blocks, out) => {
    const half = float16Table();
    for (let block = 0, at = 0, y = 0; block < blocks; block++, at += 110) {
      const d = half[bytes[at + 108] | (bytes[at + 109] << 8)];
      const scales = at + 96;
      for (let group = 0; group < 16; group++, y += 16) {
        const low = (bytes[scales + (group & 7)] >> (4 * (group >> 3))) & 15;
        const high = (bytes[scales + 8 + (group & 3)] >> (2 * (group >> 2))) & 3;
        const dl = d * ((low | (high << 4)) - 32);
        const hmask = at + 16 * (group & 1);
        const bit = group >> 1;
        const qs = at + 32 + 32 * (group >> 3) + 16 * (group & 1);
        const shift = group & 6;
        for (let j = 0; j < 16; j++) {
          const q = ((bytes[qs + j] >> shift) & 3) | (((bytes[hmask + j] >> bit) & 1) << 2);
          out[y + j] = dl * (q - 4);
        }
      }
    }
  },
};

/** Groups of 32, q of 4 bits. Bytes: d 2, dmin 2, scales 12, qs 128. */
export const Q4_K: TensorType = {
  name: 'Q4_K',
  blockValues: 256,
  blockBytes: 144,
  dequantize: (bytes, blocks, out) => {
    const half = float16Table();
    for (let block = 0, at = 0, y = 0; block < blocks; block++, at += 144) {
      const d = half[bytes[at] | (bytes[at + 1] << 8)];
      const dmin = half[bytes[at + 2] | (bytes[at + 3] << 8)];
      for (let group = 0; group < 8; group += 2, y += 64) {
        const d1 = d * scaleOf(bytes, at + 4, group);
        const m1 = dmin * minimumOf(bytes, at + 4, group);
        const d2 = d * scaleOf(bytes, at + 4, group + 1);
        const m2 = dmin * minimumOf(bytes, at + 4, group + 1);
        const qs = at + 16 + 16 * group;
        for (let j = 0; j < 32; j++) {
          const q = bytes[qs + j];
          out[y + j] = d1 * (q & 15) - m1;
          out[y + 32 + j] = d2 * (q >> 4) - m2;
        }
      }
    }
  },
};

/** Groups of 32, q of 5 bits: 4 in `qs`, and for group g bit g in `qh`. Bytes: d 2, dmin 2, scales 12, qh 32, qs 128. */
export const Q5_K: TensorType = {
  name: 'Q5_K',
  blockValues: 256,
  blockBytes: 176,
  dequantize: (bytes, blocks, out) => {
    const half = float16Table();
    for (let block = 0, at = 0, y = 0; block < blocks; block++, at += 176) {
      const d = half[bytes[at] | (bytes[at + 1] << 8)];
      const dmin = half[bytes[at + 2] | (bytes[at + 3] << 8)];
      for (let group = 0; group < 8; group += 2, y += 64) {
        const d1 = d * scaleOf(bytes, at + 4, group);
        const m1 = dmin * minimumOf(bytes, at + 4, group);
        const d2 = d * scaleOf(bytes, at + 4, group + 1);
        const m2 = dmin * minimumOf(bytes, at + 4, group + 1);
        const qh = at + 16;
        const qs = at + 48 + 16 * group;
        for (let j = 0; j < 32; j++) {
          const q = bytes[qs + j];
          const high = bytes[qh + j] >> group;
          out[y + j] = d1 * ((q & 15) | ((high & 1) << 4)) - m1;
          out[y + 32 + j] = d2 * ((q >> 4) | ((high & 2) << 3)) - m2;
        }
      }
    }
  },
};

/**
 * Groups of 16, q of 6 bits less 32: 4 bits in `ql`, 2 in `qh`; scales of 8 bits with a sign. Bytes: ql 128, qh 64,
 * scales 16, d 2.
 */
export const Q6_K: TensorType = {
  name: 'Q6_K',
  blockValues: 256,
  blockBytes: 210,
  dequantize: (bytes, blocks, out) => {
    const half = float16Table();
    const signed = new Int8Array(bytes.buffer);
    for (let block = 0, at = 0; block < blocks; block++, at += 210) {
      const d = half[bytes[at + 208] | (bytes[at + 209] << 8)];
      // A pass takes the first or the last 16 values of the four groups of 32 in one half of the block: a byte of `ql`
      // holds two values that are 64 apart, a byte of `qh` one value of each group.
      for (let part = 0; part < 4; part++) {
        const upper = part >> 1;
        const odd = part & 1;
        const y = 256 * block + 128 * upper + 16 * odd;
        const ql = at + 64 * upper + 16 * odd;
        const qh = at + 128 + 32 * upper + 16 * odd;
        const scales = at + 192 + 8 * upper + odd;
        const d1 = d * signed[scales];
        const d2 = d * signed[scales + 2];
        const d3 = d * signed[scales + 4];
        const d4 = d * signed[scales + 6];
        for (let j = 0; j < 16; j++) {
          const low = bytes[ql + j];
          const next = bytes[ql + 32 + j];
          const high = bytes[qh + j];
          out[y + j] = d1 * (((low & 15) | ((high & 3) << 4)) - 32);
          out[y + 32 + j] = d2 * (((next & 15) | ((high & 12) << 2)) - 32);
          out[y + 64 + j] = d3 * (((low >> 4) | (high & 48)) - 32);
          out[y + 96 + j] = d4 * (((next >> 4) | ((high & 192) >> 2)) - 32);
        }
      }
    }
  },
};

/**
 * Scale of a group of Q4_K and Q5_K, of 6 bits. The 12 bytes hold the scales of groups 0 to 3, their minima, and the
 * lower halves of the others' scales and minima, whose upper 2 bits are those of the first eight bytes.
 */
function scaleOf(bytes: Uint8Array, scales: number, group: number): number {
  if (group < 4) return bytes[scales + group] & 63;
  return (bytes[scales + group + 4] & 15) | ((bytes[scales + group - 4] >> 6) << 4);
}

/** Minimum of a group of Q4_K and Q5_K. */
function minimumOf(bytes: Uint8Array, scales: number, group: number): number {
  if (group < 4) return bytes[scales + group + 4] & 63;
  return (bytes[scales + group + 4] >> 4) | ((bytes[scales + group] >> 6) << 4);
}

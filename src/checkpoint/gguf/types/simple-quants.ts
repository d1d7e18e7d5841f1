import { float16Table } from '../../../tensor/float16.ts';
import type { TensorType } from './tensor-type.ts';

/**
 * Blocks of 32 values with a scale d, and in the types `_1` also a minimum m, both float16. Value i of a block has its
 * lower 4 bits in byte i % 16 of `qs`: in the lower half of it for the first 16 values, in the upper for the others.
 */

/** (q - 8) · d. Bytes: d 2, qs 16. */
export const Q4_0: TensorType = {
  name: 'Q4_0',
  blockValues: 32,
  blockBytes: 18,
  dequantize: (bytes, blocks, out) => {
    const half = float16Table();
    for (let block = 0, at = 0, y = 0; block < blocks; block++, at += 18, y += 32) {
      const d = half[bytes[at] | (bytes[at + 1] << 8)];
      for (let j = 0; j < 16; j++) {
        const q = bytes[at + 2 + j];
        out[y + j] = ((q & 15) - 8) * d;
        out[y + 16 + j] = ((q >> 4) - 8) * d;
      }
    }
  },
};

/** q · d + m. Bytes: d 2, m 2, qs 16. */
export const Q4_1: TensorType = {
  name: 'Q4_1',
  blockValues: 32,
  blockBytes: 20,
  dequantize: (bytes, blocks, out) => {
    const half = float16Table();
    for (let block = 0, at = 0, y = 0; block < blocks; block++, at += 20, y += 32) {
      const d = half[bytes[at] | (bytes[at + 1] << 8)];
      const m = half[bytes[at + 2] | (bytes[at + 3] << 8)];
      for (let j = 0; j < 16; j++) {
        const q = bytes[at + 4 + j];
        out[y + j] = (q & 15) * d + m;
        out[y + 16 + j] = (q >> 4) * d + m;
      }
    }
  },
};

/** (q - 16) · d. The fifth bit of value i is bit i of `qh`. Bytes: d 2, qh 4, qs 16. */
export const Q5_0: TensorType = {
  name: 'Q5_0',
  blockValues: 32,
  blockBytes: 22,
  dequantize: (bytes, blocks, out) => {
    const half = float16Table();
    for (let block = 0, at = 0, y = 0; block < blocks; block++, at += 22, y += 32) {
      const d = half[bytes[at] | (bytes[at + 1] << 8)];
      const low = bytes[at + 2] | (bytes[at + 3] << 8);
      const high = bytes[at + 4] | (bytes[at + 5] << 8);
      for (let j = 0; j < 16; j++) {
        const q = bytes[at + 6 + j];
        out[y + j] = ((q & 15) + (((low >> j) & 1) << 4) - 16) * d;
        out[y + 16 + j] = ((q >> 4) + (((high >> j) & 1) << 4) - 16) * d;
      }
    }
  },
};

/** q · d + m. The fifth bit of value i is bit i of `qh`. Bytes: d 2, m 2, qh 4, qs 16. */
export const Q5_1: TensorType = {
  name: 'Q5_1',
  blockValues: 32,
  blockBytes: 24,
  dequantize: (bytes, blocks, out) => {
    const half = float16Table();
    for (let block = 0, at = 0, y = 0; block < blocks; block++, at += 24, y += 32) {
      const d = half[bytes[at] | (bytes[at + 1] << 8)];
      const m = half[bytes[at + 2] | (bytes[at + 3] << 8)];
      const low = bytes[at + 4] | (bytes[at + 5] << 8);
      const high = bytes[at + 6] | (bytes[at + 7] << 8);
      for (let j = 0; j < 16; j++) {
        const q = bytes[at + 8 + j];
        out[y + j] = ((q & 15) + (((low >> j) & 1) << 4)) * d + m;
        out[y + 16 + j] = ((q >> 4) + (((high >> j) & 1) << 4)) * d + m;
      }
    }
  },
};

/** q · d, q of 8 bits with a sign. Bytes: d 2, qs 32. */
export const Q8_0: TensorType = {
  name: 'Q8_0',
  blockValues: 32,
  blockBytes: 34,
  dequantize: (bytes, blocks, out) => {
    const half = float16Table();
    const signed = new Int8Array(bytes.buffer);
    for (let block = 0, at = 0, y = 0; block < blocks; block++, at += 34, y += 32) {
      const d = half[bytes[at] | (bytes[at + 1] << 8)];
      for (let j = 0; j < 32; j++) out[y + j] = signed[at + 2 + j] * d;
    }
  },
};

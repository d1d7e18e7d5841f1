import { float16Table } from '../../../tensor/float16.ts';
import { UE4M3 } from '../../../tensor/small-floats.ts';
import type { TensorType } from './tensor-type.ts';

/** Types whose codes of 4 bits stand for the values of a table. */

/** Levels of IQ4_NL and IQ4_XS: denser around zero. `kvalues_iq4nl` in ggml-common.h. */
export const IQ4_LEVELS = Int8Array.of(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);

/** Twice the values of E2M1; its negative zero is zero here. */
const TWICE_E2M1 = Int8Array.of(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);

/** d · level. Codes lie as in Q4_0. Bytes: d 2, qs 16. */
export const IQ4_NL: TensorType = {
  name: 'IQ4_NL',
  blockValues: 32,
  blockBytes: 18,
  dequantize: (bytes, blocks, out) => {
    const half = float16Table();
    for (let block = 0, at = 0, y = 0; block < blocks; block++, at += 18, y += 32) {
      const d = half[bytes[at] | (bytes[at + 1] << 8)];
      for (let j = 0; j < 16; j++) {
        const q = bytes[at + 2 + j];
        out[y + j] = d * IQ4_LEVELS[q & 15];
        out[y + 16 + j] = d * IQ4_LEVELS[q >> 4];
      }
    }
  },
};

/**
 * d · (scale - 32) · level, in groups of 32 with scales of 6 bits: 2 in `scales_h`, 4 in `scales_l`. Bytes: d 2,
 * scales_h 2, scales_l 4, qs 128.
 */
export const IQ4_XS: TensorType = {
  name: 'IQ4_XS',
  blockValues: 256,
  blockBytes: 136,
  dequantize: (bytes, blocks, out) => {
    const half = float16Table();
    for (let block = 0, at = 0, y = 0; block < blocks; block++, at += 136) {
      const d = half[bytes[at] | (bytes[at + 1] << 8)];
      const high = bytes[at + 2] | (bytes[at + 3] << 8);
      for (let group = 0; group < 8; group++, y += 32) {
        const low = (bytes[at + 4 + (group >> 1)] >> (4 * (group & 1))) & 15;
        const dl = d * ((low | (((high >> (2 * group)) & 3) << 4)) - 32);
        const qs = at + 8 + 16 * group;
        for (let j = 0; j < 16; j++) {
          const q = bytes[qs + j];
          out[y + j] = dl * IQ4_LEVELS[q & 15];
          out[y + 16 + j] = dl * IQ4_LEVELS[q >> 4];
        }
      }
    }
  },
};

/** 2^(e - 127) · E2M1. Codes lie as in Q4_0. Bytes: e 1, qs 16. */
export const MXFP4: TensorType = {
  name: 'MXFP4',
  blockValues: 32,
  blockBytes: 17,
  dequantize: (bytes, blocks, out) => {
    for (let block = 0, at = 0, y = 0; block < blocks; block++, at += 17, y += 32) {
      const d = 2 ** (bytes[at] - 128);
      for (let j = 0; j < 16; j++) {
        const q = bytes[at + 1 + j];
        out[y + j] = TWICE_E2M1[q & 15] * d;
        out[y + 16 + j] = TWICE_E2M1[q >> 4] * d;
      }
    }
  },
};

/** scale · E2M1, in groups of 16 with UE4M3 scales, whose codes lie as in Q4_0. Bytes: scales 4, qs 32. */
export const NVFP4: TensorType = {
  name: 'NVFP4',
  blockValues: 64,
  blockBytes: 36,
  dequantize: (bytes, blocks, out) => {
    for (let block = 0, at = 0, y = 0; block < blocks; block++, at += 36) {
      for (let group = 0; group < 4; group++, y += 16) {
        const d = UE4M3[bytes[at + group]] / 2;
        const qs = at + 4 + 8 * group;
        for (let j = 0; j < 8; j++) {
          const q = bytes[qs + j];
          out[y + j] = TWICE_E2M1[q & 15] * d;
          out[y + 8 + j] = TWICE_E2M1[q >> 4] * d;
        }
      }
    }
  },
};

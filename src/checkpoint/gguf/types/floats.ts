import { bfloat16ToFloat32, float16ToFloat32 } from '../../../tensor/float16.ts';
import type { TensorType } from './tensor-type.ts';

/** float32. */
export const F32: TensorType = {
  name: 'F32',
  blockValues: 1,
  blockBytes: 4,
  dequantize: ({ buffer }, count, out) => out.set(new Float32Array(buffer, 0, count)),
};

/** IEEE 754 binary16. */
export const F16: TensorType = {
  name: 'F16',
  blockValues: 1,
  blockBytes: 2,
  dequantize: ({ buffer }, count, out) => void float16ToFloat32(new Uint16Array(buffer, 0, count), out),
};

/** The upper half of a float32. */
export const BF16: TensorType = {
  name: 'BF16',
  blockValues: 1,
  blockBytes: 2,
  dequantize: ({ buffer }, count, out) => void bfloat16ToFloat32(new Uint16Array(buffer, 0, count), out),
};

/** float64, rounded to float32. */
export const F64: TensorType = {
  name: 'F64',
  blockValues: 1,
  blockBytes: 8,
  dequantize: ({ buffer }, count, out) => out.set(new Float64Array(buffer, 0, count)),
};

import { UnsupportedDTypeError } from '../errors.ts';
import { bfloat16ToFloat32, float16Bits, float16ToFloat32 } from './float16.ts';
import { E4M3, E5M2 } from './small-floats.ts';
import { roundState } from './state-dtype.ts';

/** Dtypes of the keys and values of attention layers in their cache. Attention computes in float32, whatever they are kept in. */
export const KV_CACHE_DTYPES = ['float32', 'float16', 'bfloat16', 'fp8_e4m3', 'fp8_e5m2'] as const;
export type KvCacheDType = (typeof KV_CACHE_DTYPES)[number];

/** Dtypes of 16 and 8 bits, to which keys and values are rounded. */
export type ShortKvCacheDType = Exclude<KvCacheDType, 'float32'>;

/** A cache's dtype by vLLM's name: fp8 is fp8_e4m3; `auto` is what the checkpoint was quantised for, or float32. */
export const KV_CACHE_DTYPE_SETTINGS = ['auto', ...KV_CACHE_DTYPES, 'fp8'] as const;
export type KvCacheDTypeSetting = (typeof KV_CACHE_DTYPE_SETTINGS)[number];

const BYTES: Readonly<Record<KvCacheDType, number>> = {
  float32: 4,
  float16: 2,
  bfloat16: 2,
  fp8_e4m3: 1,
  fp8_e5m2: 1,
};

/** What decides on the numbers of a dtype of 8 bits: the spacing of the least ones, and the largest. */
const FP8 = {
  fp8_e4m3: { mantissaBits: 3, leastExponent: -6, most: 448, values: E4M3 },
  fp8_e5m2: { mantissaBits: 2, leastExponent: -14, most: 57344, values: E5M2 },
} as const;
type Fp8DType = keyof typeof FP8;

/** @throws UnsupportedDTypeError */
export function parseKvCacheDType(name: string): KvCacheDTypeSetting {
  const setting = KV_CACHE_DTYPE_SETTINGS.find((known) => known === name);
  if (setting !== undefined) return setting;
  throw new UnsupportedDTypeError(
    `Unknown dtype of keys and values '${name}'.`,
    `kvCacheDtype is one of: ${KV_CACHE_DTYPE_SETTINGS.join(', ')}.`,
  );
}

/** Whether a dtype is one of the two of 8 bits. */
export function isFp8(dtype: KvCacheDType): dtype is Fp8DType {
  return dtype in FP8;
}

/** Numbers that a word of 32 bits has. */
export function numbersPerWord(dtype: KvCacheDType): number {
  return 4 / BYTES[dtype];
}

/** Bytes of a head's keys or values of one token, which begin at a word. */
export function kvHeadBytes(headDim: number, dtype: KvCacheDType): number {
  return 4 * Math.ceil(headDim / numbersPerWord(dtype));
}

/**
 * The nearest value of a dtype, ties to even. NaN stays NaN. All but bfloat16 saturate: what lies beyond the largest number,
 * infinity too, becomes that number.
 */
export function roundKeyOrValue(value: number, dtype: KvCacheDType): number {
  if (!isFp8(dtype)) return roundState(value, dtype);
  const { mantissaBits, leastExponent, most } = FP8[dtype];
  const magnitude = Math.abs(value);
  if (!(magnitude < most)) return Number.isNaN(value) ? Number.NaN : Math.sign(value) * most;
  const exponent = magnitude < 2 ** leastExponent ? leastExponent : Math.floor(Math.log2(magnitude));
  const step = 2 ** (exponent - mantissaBits);
  // Adding 1.5·2^52 pushes every fraction bit out of a double, with its own round to nearest even.
  const magic = 1.5 * 2 ** 52;
  return Math.sign(value) * ((magnitude / step + magic - magic) * step);
}

/** Values of codes one after another, which lie in 4-byte words. */
export function shortValues(bytes: Uint8Array<ArrayBuffer>, dtype: ShortKvCacheDType): Float32Array<ArrayBuffer> {
  const values = new Float32Array(bytes.length / BYTES[dtype]);
  if (isFp8(dtype)) {
    const table = FP8[dtype].values;
    for (let i = 0; i < values.length; i++) values[i] = table[bytes[i]];
    return values;
  }
  const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, values.length);
  if (dtype === 'bfloat16') bfloat16ToFloat32(halves, values);
  else float16ToFloat32(halves, values);
  return values;
}

/** The code of the nearest value of a dtype: 16 or 8 bits. */
export function shortCode(value: number, dtype: ShortKvCacheDType): number {
  const nearest = roundKeyOrValue(value, dtype);
  if (dtype === 'float16') return float16Bits(nearest);
  if (dtype === 'fp8_e5m2') return float16Bits(nearest) >>> 8;
  const [bits] = new Uint32Array(Float32Array.of(nearest).buffer);
  if (dtype === 'bfloat16') return bits >>> 16;
  const sign = (bits >>> 24) & 0x80;
  const magnitude = Math.abs(nearest);
  if (Number.isNaN(nearest)) return 0x7f;
  // An exponent of 0 has no implicit leading one.
  return sign | (magnitude < 2 ** -6 ? magnitude * 512 : ((bits & 0x7fffffff) >>> 20) - (120 << 3));
}

/**
 * float16 and bfloat16 as bit patterns in Uint16Array. Both convert to float32 exactly; back they round to nearest even.
 * Layouts: IEEE 754 binary16 (1 sign, 5 exponent, 10 mantissa bits); bfloat16 is the upper half of a float32.
 */

const scratchF32 = new Float32Array(1);
const scratchU32 = new Uint32Array(scratchF32.buffer);

/** bfloat16 bits → float32 values, in `out` where it is given. */
export function bfloat16ToFloat32(bits: Uint16Array, out: Float32Array = new Float32Array(bits.length)): Float32Array {
  const outBits = new Int32Array(out.buffer, out.byteOffset, bits.length);
  // Two at a time, which takes a fifth less time.
  const pairs = bits.byteOffset % 4 === 0 ? bits.length >> 1 : 0;
  const words = pairs > 0 ? new Int32Array(bits.buffer, bits.byteOffset, pairs) : new Int32Array();
  for (let i = 0; i < pairs; i++) {
    outBits[2 * i] = words[i] << 16;
    outBits[2 * i + 1] = words[i] & 0xffff0000;
  }
  for (let i = 2 * pairs; i < bits.length; i++) outBits[i] = bits[i] << 16;
  return out;
}

/** float32 value → nearest bfloat16, still as a float32. NaN stays NaN. */
export function roundToBfloat16(value: number): number {
  scratchF32[0] = value;
  const u = scratchU32[0];
  if ((u & 0x7fffffff) > 0x7f800000) return Number.NaN;
  scratchU32[0] = (u + 0x7fff + ((u >>> 16) & 1)) & 0xffff0000;
  return scratchF32[0];
}

let float16Values: Float32Array | undefined;

/** All 65536 float16 values: a table lookup is several times faster than decoding each. */
export function float16Table(): Float32Array {
  if (float16Values !== undefined) return float16Values;
  const table = new Float32Array(0x10000);
  for (let bits = 0; bits < 0x10000; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 0x1f;
    const mantissa = bits & 0x3ff;
    if (exponent === 0) table[bits] = sign * mantissa * 2 ** -24;
    else if (exponent === 0x1f) table[bits] = mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    else table[bits] = sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
  }
  float16Values = table;
  return table;
}

/** float16 bits → float32 values, in `out` where it is given. */
export function float16ToFloat32(bits: Uint16Array, out: Float32Array = new Float32Array(bits.length)): Float32Array {
  const table = float16Table();
  for (let i = 0; i < bits.length; i++) out[i] = table[bits[i]];
  return out;
}

/** float32 value → nearest float16, still as a float32. Values of 65520 and more become infinite. */
export function roundToFloat16(value: number): number {
  const magnitude = Math.abs(value);
  if (!(magnitude < 65520)) return Number.isNaN(value) ? Number.NaN : Math.sign(value) * Number.POSITIVE_INFINITY;
  // Spacing of float16 numbers around `magnitude`: 2^(exponent - 10), and 2^-24 for subnormal numbers.
  const exponent = magnitude < 2 ** -14 ? -14 : Math.floor(Math.log2(magnitude));
  const step = 2 ** (exponent - 10);
  // Adding 1.5·2^52 pushes every fraction bit out of a double, with its own round to nearest even.
  const magic = 1.5 * 2 ** 52;
  return Math.sign(value) * ((magnitude / step + magic - magic) * step);
}

/** The nearest float16 as its 16 bits. */
export function float16Bits(value: number): number {
  scratchF32[0] = value;
  return float16BitsOf(scratchU32[0]);
}

/** float32 values → the bits of the nearest float16, two a word, the first in the lower half. An odd last one is alone. */
export function packFloat16(values: Float32Array, words: Uint32Array): void {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const pairs = values.length >> 1;
  for (let i = 0; i < pairs; i++) {
    words[i] = float16BitsOf(bits[2 * i]) | (float16BitsOf(bits[2 * i + 1]) << 16);
  }
  if (values.length & 1) words[pairs] = float16BitsOf(bits[2 * pairs]);
}

/** Rounds a float32, given by its bits, with integers alone: models have billions of weights. */
function float16BitsOf(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  // From 2^-14 to where rounding reaches infinity: a new bias, and the mantissa rounded to nearest even.
  if (magnitude >= 0x38800000 && magnitude < 0x477ff000) {
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  }
  if (magnitude > 0x7f800000) return 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  // Up to 2^-25: 0, ties included.
  if (magnitude <= 0x33000000) return sign;
  // Subnormal: a multiple of 2^-24, without an implicit leading one.
  const shift = 126 - (magnitude >>> 23);
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  const whole = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return sign | (whole + (rest > half || (rest === half && (whole & 1) === 1) ? 1 : 0));
}

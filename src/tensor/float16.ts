/**
 * float16 and bfloat16 as bit patterns in Uint16Array. Both convert to float32 exactly; back they round to nearest even.
 * Layouts: IEEE 754 binary16 (1 sign, 5 exponent, 10 mantissa bits); bfloat16 is the upper half of a float32.
 */

const scratchF32 = new Float32Array(1);
const scratchU32 = new Uint32Array(scratchF32.buffer);

/** bfloat16 bits → float32 values, in `out` where it is given. */
export function bfloat16ToFloat32(bits: Uint16Array, out: Float32Array = new Float32Array(bits.length)): Float32Array {
  const outBits = new Uint32Array(out.buffer, out.byteOffset, bits.length);
  for (let i = 0; i < bits.length; i++) outBits[i] = bits[i] << 16;
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

/** All 65536 float16 values: a table lookup is several times faster than decoding each. */
let float16Values: Float32Array | undefined;

function float16Table(): Float32Array {
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
  const rounded = roundToFloat16(value);
  const sign = rounded < 0 || Object.is(rounded, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(rounded);
  if (Number.isNaN(magnitude)) return 0x7e00;
  if (magnitude === Infinity) return sign | 0x7c00;
  // Below 2^-14 numbers are subnormal: a plain multiple of 2^-24 without an implicit leading one.
  if (magnitude < 2 ** -14) return sign | (magnitude * 2 ** 24);
  const exponent = Math.floor(Math.log2(magnitude));
  return sign | ((exponent + 15) << 10) | (magnitude * 2 ** (10 - exponent) - 1024);
}

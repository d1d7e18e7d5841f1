/**
 * Numbers of few bits, by the definitions of their formats: what the reader's tables are compared with. Nothing of `src` is
 * used here.
 */

/** Value of sign, exponent and mantissa fields. */
function float(code: number, exponentBits: number, mantissaBits: number): number {
  const bias = 2 ** (exponentBits - 1) - 1;
  const sign = code >> (exponentBits + mantissaBits) === 1 ? -1 : 1;
  const exponent = (code >> mantissaBits) % 2 ** exponentBits;
  const mantissa = code % 2 ** mantissaBits;
  if (exponent === 0) return sign * mantissa * 2 ** (1 - bias - mantissaBits);
  return sign * (2 ** mantissaBits + mantissa) * 2 ** (exponent - bias - mantissaBits);
}

export const e2m1Values = Array.from({ length: 16 }, (_, code) => float(code, 2, 1));
/** Without the two codes that are NaN. */
export const e4m3Values = Array.from({ length: 256 }, (_, code) =>
  code % 128 === 127 ? Number.NaN : float(code, 4, 3),
);
/** Without infinities and NaN. */
export const e5m2Values = Array.from({ length: 256 }, (_, code) =>
  code % 128 >= 124 ? Number.NaN : float(code, 5, 2),
);

/** The code whose value is nearest. */
export function nearestCode(values: readonly number[], wanted: number): number {
  let best = 0;
  for (let code = 1; code < values.length; code++) {
    if (Math.abs(values[code] - wanted) < Math.abs(values[best] - wanted)) best = code;
  }
  return best;
}

/** A number as a dtype of 16 or 32 bits holds it: its bytes, and its value. */
export function encode(value: number, dtype: 'F32' | 'BF16' | 'F16'): { bytes: number[]; value: number } {
  const view = new DataView(new ArrayBuffer(4));
  if (dtype === 'F32') {
    view.setFloat32(0, value, true);
    return { bytes: [0, 1, 2, 3].map((i) => view.getUint8(i)), value: view.getFloat32(0, true) };
  }
  if (dtype === 'BF16') {
    view.setFloat32(0, value, true);
    view.setUint16(0, 0, true);
    return { bytes: [view.getUint8(2), view.getUint8(3)], value: view.getFloat32(0, true) };
  }
  const magnitude = Math.abs(value);
  const exponent = Math.max(-14, Math.floor(Math.log2(magnitude || 2 ** -30)));
  const mantissa = Math.floor(magnitude / 2 ** (exponent - 10));
  const bits = (value < 0 ? 0x8000 : 0) + (mantissa < 1024 ? mantissa : (exponent + 15) * 1024 + mantissa - 1024);
  return { bytes: [bits & 255, bits >> 8], value: Math.sign(value) * mantissa * 2 ** (exponent - 10) };
}

/** A sequence that looks random, in [0, 1). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/**
 * Floating-point numbers of 4 and 8 bits, which converted checkpoints hold as weights or as scales of blocks. Every value
 * is exact in float32, so each format is a table from its code to its value.
 *
 * Layouts: OCP Microscaling Formats (MX) v1.0, section 5.3, and OCP 8-bit Floating Point (OFP8) v1.0, section 5.
 */

/** E2M1: 4 bits, of which the upper is the sign: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives. */
export const E2M1: Float32Array = /* @__PURE__ */ Float32Array.from({ length: 16 }, (_, code) =>
  signedValue(code, { exponentBits: 2, mantissaBits: 1, bias: 1 }),
);

/** E4M3, in the variant without infinities (`fn`): its codes 0x7f and 0xff are NaN, the largest value is 448. */
export const E4M3: Float32Array = /* @__PURE__ */ Float32Array.from({ length: 256 }, (_, code) =>
  (code & 0x7f) === 0x7f ? Number.NaN : signedValue(code, { exponentBits: 4, mantissaBits: 3, bias: 7 }),
);

/** E5M2: a float16 cut to its upper 8 bits, with infinities and NaN; the largest value is 57344. */
export const E5M2: Float32Array = /* @__PURE__ */ Float32Array.from({ length: 256 }, (_, code) => {
  if ((code & 0x7f) > 0x7c) return Number.NaN;
  if ((code & 0x7f) === 0x7c) return code === 0x7c ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
  return signedValue(code, { exponentBits: 5, mantissaBits: 2, bias: 15 });
});

/** E8M0: powers of two, 2^-127 (which is subnormal in float32) to 2^127; 0xff is NaN. */
export const E8M0: Float32Array = /* @__PURE__ */ Float32Array.from({ length: 256 }, (_, code) =>
  code === 0xff ? Number.NaN : 2 ** (code - 127),
);

/**
 * UE4M3, as GGUF's NVFP4 has it: E4M3 whose upper bit is left out of account, and whose code 0x7f is 0. ggml's own
 * function gives half of this, for a table of twice the E2M1 values.
 */
export const UE4M3: Float32Array = /* @__PURE__ */ Float32Array.from({ length: 256 }, (_, code) =>
  code === 0x7f ? 0 : signedValue(code & 0x7f, { exponentBits: 4, mantissaBits: 3, bias: 7 }),
);

interface Layout {
  readonly exponentBits: number;
  readonly mantissaBits: number;
  readonly bias: number;
}

/** Value of a code whose exponents are all ordinary: an exponent of 0 has no implicit leading one. */
function signedValue(code: number, { exponentBits, mantissaBits, bias }: Layout): number {
  const sign = code >> (exponentBits + mantissaBits) ? -1 : 1;
  const exponent = (code >> mantissaBits) & ((1 << exponentBits) - 1);
  const fraction = (code & ((1 << mantissaBits) - 1)) / (1 << mantissaBits);
  return exponent === 0 ? sign * fraction * 2 ** (1 - bias) : sign * (1 + fraction) * 2 ** (exponent - bias);
}

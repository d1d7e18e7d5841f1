// How products of integers are made. Sums of integers are exact, so all forms give the same bits; which is the quickest
// depends on the processor and on what the JavaScript engine makes of an instruction. The build compiles products once for
// each form, with other constants than these: see FORMS in scripts/build-kernels.mjs.

/** The relaxed dot product of bytes: one instruction on processors with VNNI or NEON's dot product, five on others. */
export const DOT: i32 = 0;
/** Relaxed products of bytes, added in pairs to 16 bits, and then to 32: three instructions on processors with AVX2. */
export const PAIRS: i32 = 1;
/** Products of 16-bit integers, for engines without relaxed instructions. */
export const WORDS: i32 = 2;

export const FORM: i32 = DOT;

/**
 * Vectors of weights that a tile of rows meets at once: all four of a panel, where V8 joins pairs of them into 256 bits or
 * the processor has 32 registers, or else two.
 */
export const VECTORS: i32 = 4;

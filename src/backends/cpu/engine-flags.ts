/**
 * Asks V8 for the SIMD code that it has but does not offer by default: relaxed SIMD in Node 20 and the 256-bit widening
 * of pairs of 128-bit instructions from Node 24 on. Must run before the first kernel is compiled; threads share it.
 * Elsewhere than in Node it does nothing. What the widened code computes is checked before it is used.
 */
export function requestFastSimd(): void {
  const node = globalThis.process?.versions?.node;
  if (!node) return;
  const major = Number.parseInt(node, 10);
  const v8 = process.getBuiltinModule?.('node:v8');
  if (major < 22) v8?.setFlagsFromString('--experimental-wasm-relaxed-simd');
  if (major >= 24) v8?.setFlagsFromString('--experimental-wasm-revectorize');
}

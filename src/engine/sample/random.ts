import { mix } from '../../util/hash.ts';

/**
 * Number `counter` of a random sequence, uniform in [0, 1). It is a function of its arguments alone, so a request's
 * draws do not depend on what else runs, and a rewound request draws the same again. A seed counts as its 64 bits.
 *
 * The inputs' 32-bit words are mixed one after the other.
 */
export function uniform(seed: number | bigint, counter: number): number {
  const [low, high] = typeof seed === 'bigint' ? wordsOf(seed) : [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0];
  const state = mix(mix(mix(low ^ 0x9e3779b9) + high) + counter);
  // 53 bits: all that a double's fraction holds.
  return ((mix(state ^ 0x85ebca6b) >>> 5) * 2 ** 26 + (mix(state ^ 0xc2b2ae35) >>> 6)) / 2 ** 53;
}

function wordsOf(seed: bigint): readonly [low: number, high: number] {
  return [Number(BigInt.asUintN(32, seed)), Number(BigInt.asUintN(32, seed >> 32n))];
}

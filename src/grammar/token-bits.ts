/** One bit per token id, in words of 32. */
export type TokenBits = Int32Array<ArrayBuffer>;

export function bitsOf(ids: Iterable<number>, words: number): TokenBits {
  const bits = new Int32Array(words);
  for (const id of ids) setBit(bits, id);
  return bits;
}

export function setBit(bits: TokenBits, id: number): void {
  if (id >> 5 < bits.length) bits[id >> 5] |= 1 << (id & 31);
}

export function clearBit(bits: TokenBits, id: number): void {
  if (id >> 5 < bits.length) bits[id >> 5] &= ~(1 << (id & 31));
}

export function hasBit(bits: TokenBits, id: number): boolean {
  return ((bits[id >> 5] >>> (id & 31)) & 1) === 1;
}

export function isEmpty(bits: TokenBits): boolean {
  return bits.every((word) => word === 0);
}

/**
 * Writes the logits of tokens that have a bit to `scores`, and -Infinity for all others. Where texts are free nearly all have one, and
 * elsewhere few: what is rarer is written one by one.
 */
export function keepAllowed(scores: Float32Array, logits: Float32Array, bits: TokenBits): void {
  const isDense = countBits(bits) > scores.length / 2;
  if (isDense) scores.set(logits);
  else scores.fill(Number.NEGATIVE_INFINITY);
  const words = Math.ceil(scores.length / 32);
  for (let word = 0; word < words; word++) {
    const own = word < bits.length ? bits[word] : 0;
    for (let rest = isDense ? ~own : own; rest !== 0; rest &= rest - 1) {
      const id = (word << 5) + 31 - Math.clz32(rest & -rest);
      if (id < scores.length) scores[id] = isDense ? Number.NEGATIVE_INFINITY : logits[id];
    }
  }
}

function countBits(bits: TokenBits): number {
  let count = 0;
  for (let word = 0; word < bits.length; word++) {
    let value = bits[word];
    value -= (value >>> 1) & 0x55555555;
    value = (value & 0x33333333) + ((value >>> 2) & 0x33333333);
    count += Math.imul((value + (value >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
  }
  return count;
}

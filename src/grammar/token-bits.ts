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

/** Makes the logits of tokens without a bit -Infinity. */
export function forbidOthers(logits: Float32Array, bits: TokenBits): void {
  for (let word = 0; word << 5 < logits.length; word++) {
    const value = bits[word] ?? 0;
    const begin = word << 5;
    if (value === -1) continue;
    const end = Math.min(begin + 32, logits.length);
    if (value === 0) logits.fill(Number.NEGATIVE_INFINITY, begin, end);
    else
      for (let id = begin; id < end; id++) if (((value >>> (id & 31)) & 1) === 0) logits[id] = Number.NEGATIVE_INFINITY;
  }
}

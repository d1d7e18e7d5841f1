/** FNV-1a in two lanes of 32 bits: it detects accidental differences, but not forgeries. */
export class Hash {
  #low = 0x811c9dc5;
  #high = 0x9747b28c;

  addBytes(bytes: Uint8Array): void {
    for (const byte of bytes) this.#add(byte);
  }

  addText(text: string): void {
    this.addBytes(new TextEncoder().encode(text));
  }

  /** Values by their bits, which tell -0 from 0. A change of one value always shows. */
  addFloats({ buffer, byteOffset, length }: Float32Array): void {
    for (const word of new Uint32Array(buffer, byteOffset, length)) this.#add(word);
  }

  toString(): string {
    return [this.#high, this.#low].map((lane) => (lane >>> 0).toString(16).padStart(8, '0')).join('');
  }

  #add(word: number): void {
    this.#low = Math.imul(this.#low ^ word, 0x01000193);
    this.#high = Math.imul(this.#high ^ word, 0x85ebca6b);
    this.#high ^= this.#low >>> 15;
  }
}

/** FNV-1a over the UTF-16 units of a text. */
export function hashOf(text: string, seed: number): number {
  let state = 0x811c9dc5 ^ seed;
  for (let i = 0; i < text.length; i++) state = Math.imul(state ^ text.charCodeAt(i), 0x01000193);
  return state;
}

/** The finaliser of MurmurHash3 (Austin Appleby, public domain): every bit of the word changes about half of the result's. */
export function mix(word: number): number {
  let h = word | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** The next state of Marsaglia's xorshift with 32 bits, which stays at 0: random enough for weights, and very quick. */
export function xorshift(state: number): number {
  let next = state ^ (state << 13);
  next ^= next >>> 17;
  return next ^ (next << 5);
}

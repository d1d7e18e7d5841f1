/** FNV-1a in two lanes of 32 bits: tells apart what is different by accident, not what is forged. */
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

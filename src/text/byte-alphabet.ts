/** GPT-2's alphabet: printable Latin-1 stands for itself, and the other bytes follow from U+0100 on. */
export const BYTES_OF_CHARACTERS: ReadonlyMap<number, number> = byteAlphabet();

function byteAlphabet(): Map<number, number> {
  const bytes = new Map<number, number>();
  let others = 0;
  for (let byte = 0; byte < 256; byte++) {
    const isPrintable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    bytes.set(isPrintable ? byte : 256 + others++, byte);
  }
  return bytes;
}

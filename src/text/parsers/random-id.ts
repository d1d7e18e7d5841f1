const CHARACTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';

/** Random letters and digits. */
export function randomId(length: number): string {
  // 256 is no multiple of 62: some letters come a little more often, which does no harm to ids.
  return Array.from(crypto.getRandomValues(new Uint8Array(length)), (byte) => CHARACTERS[byte % 62]).join('');
}

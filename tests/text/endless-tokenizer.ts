import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { TINY_DTS } from '../cli/tiny-dts.ts';

/** A text that `endlessTokenizer` does not come to an end with. */
export const ENDLESS = 'a'.repeat(60);

/** The bundled model's tokenizer.json with a regular expression that tries all ways to cut a word into parts. */
export async function endlessTokenizer(): Promise<string> {
  const json = JSON.parse(await readFile(join(TINY_DTS, 'tokenizer.json'), 'utf8'));
  const split = { type: 'Split', pattern: { Regex: '(?:a+)+b' }, behavior: 'Isolated', invert: false };
  const pre_tokenizer = { type: 'Sequence', pretokenizers: [split, json.pre_tokenizer] };
  return JSON.stringify({ ...json, pre_tokenizer });
}

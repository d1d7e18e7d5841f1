import type { Option } from './option.ts';
import { UsageError } from './usage-error.ts';

/** Words between commas, in one use of the option or several. None given: `standard`. */
export function words(placeholder: string, standard: readonly string[], description: string): Option<string[]> {
  const read = (given: readonly string[], flag: string) => {
    const found = given.flatMap((text) => text.split(',')).map((word) => word.trim());
    if (found.includes(''))
      throw new UsageError(`${flag} is '${given.join(',')}'; a value between two commas is missing.`);
    return found.length > 0 ? [...new Set(found)] : [...standard];
  };
  const text = `${description} (a list with commas, repeatable; default: ${standard.join(',')})`;
  return { placeholder, description: text, short: undefined, read };
}

/** Whole numbers from 1 on between commas. */
export function counts(standard: readonly number[], description: string): Option<number[]> {
  const asWords = words('numbers', standard.map(String), description);
  const read = (given: readonly string[], flag: string) =>
    asWords.read(given, flag).map((word) => whole(word, flag, 1));
  return { ...asWords, read };
}

/** Option with a whole number. If it is given twice, the last number counts. */
export function count(standard: number, least: number, description: string): Option<number> {
  const read = (given: readonly string[], flag: string) => whole(given.at(-1) ?? `${standard}`, flag, least);
  return { placeholder: 'number', description: `${description} (default: ${standard})`, short: undefined, read };
}

function whole(word: string, flag: string, least: number): number {
  if (/^\d{1,9}$/.test(word) && Number(word) >= least) return Number(word);
  throw new UsageError(`${flag} holds '${word}'; expected an integer at least ${least}.`);
}

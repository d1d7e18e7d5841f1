import { UsageError } from './usage-error.ts';

/** An option of a command: its description in help, and how its values are read. */
export interface Option<T> {
  /** Name of the value in help; undefined for a flag, which takes none. */
  readonly placeholder: string | undefined;
  readonly description: string;
  /** Short name of one letter. */
  readonly short: string | undefined;
  /** All possible values, where they are few. */
  readonly choices?: readonly string[];
  /**
   * @param given the values in the order of the command line, as typed; one empty text per use of a flag.
   * @param flag the option's name with its dashes.
   * @throws UsageError
   */
  read(given: readonly string[], flag: string): T;
}

/** The options of a command by their names in code: `maxTokens` is `--max-tokens`. */
export type Options = Readonly<Record<string, Option<unknown>>>;

/** Values that a command receives for its options. */
export type Values<O extends Options> = { readonly [K in keyof O]: O[K] extends Option<infer T> ? T : never };

/** True when given. */
export function flag(description: string, short?: string): Option<boolean> {
  return { placeholder: undefined, description, short, read: (given) => given.length > 0 };
}

/** Any text, as typed: '007' stays '007'. The last one wins. */
export function text(placeholder: string, description: string, short?: string): Option<string | undefined> {
  return { placeholder, description, short, read: (given) => given.at(-1) };
}

/** Texts of an option that may be repeated. */
export function texts(placeholder: string, description: string): Option<readonly string[]> {
  return { placeholder, description: `${description} (repeatable)`, short: undefined, read: (given) => given };
}

/** A decimal number. Which range makes sense is for the reader of the value to say. */
export function number(description: string, short?: string): Option<number | undefined> {
  const read = (given: readonly string[], flag: string) => {
    const raw = given.at(-1);
    if (raw === undefined) return undefined;
    // Number() alone would take '', '0x10' and 'Infinity'.
    if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(raw))
      throw new UsageError(`${flag} is '${raw}'; expected a number.`);
    return Number(raw);
  };
  return { placeholder: 'number', description, short, read };
}

/** A whole number of any size, which a number would round above 2^53. */
export function integer(description: string): Option<bigint | undefined> {
  const read = (given: readonly string[], flag: string) => {
    const raw = given.at(-1);
    if (raw === undefined) return undefined;
    if (!/^[+-]?\d{1,30}$/.test(raw)) throw new UsageError(`${flag} is '${raw}'; expected a whole number.`);
    return BigInt(raw);
  };
  return { placeholder: 'number', description, short: undefined, read };
}

/** Whole numbers from 0 on, with commas, in one use of the option or several. */
export function ids(description: string): Option<readonly number[]> {
  const read = (given: readonly string[], flag: string) => given.flatMap((list) => parseIds(list, flag));
  return { placeholder: 'ids', description: `${description}: 1,2,3`, short: undefined, read };
}

/** @throws UsageError */
export function parseIds(list: string, flag: string): number[] {
  const words = list.split(/[\s,]+/).filter((word) => word !== '');
  const wrong = words.find((word) => !/^\d{1,9}$/.test(word));
  if (wrong !== undefined || words.length === 0) {
    throw new UsageError(`${flag} holds '${wrong ?? ''}'; expected whole numbers with commas, such as 1,2,3.`);
  }
  return words.map(Number);
}

/** Option with one of a few words. */
export function choice<T extends string>(choices: readonly T[], description: string): Option<T | undefined> {
  const listed = choices.join(', ');
  const read = (given: readonly string[], flag: string) => {
    const raw = given.at(-1);
    const chosen = choices.find((word) => word === raw);
    if (raw !== undefined && chosen === undefined)
      throw new UsageError(`${flag} is '${raw}'; expected one of: ${listed}.`);
    return chosen;
  };
  return { placeholder: 'name', description: `${description}: ${listed}`, short: undefined, choices, read };
}

/** `maxTokens` → `--max-tokens` */
export function flagName(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

import { UsageError } from './usage-error.ts';

/** One option of a command: how help describes it, and how its values are read. */
export interface Option<T> {
  /** What help calls the value; undefined for a flag, which takes none. */
  readonly placeholder: string | undefined;
  readonly description: string;
  /** One letter. */
  readonly short: string | undefined;
  /**
   * @param given the values in the order of the command line, as typed; one empty text per use of a flag.
   * @param flag the option's name with its dashes.
   * @throws UsageError
   */
  read(given: readonly string[], flag: string): T;
}

/** The options of a command by their names in code: `maxTokens` is `--max-tokens`. */
export type Options = Readonly<Record<string, Option<unknown>>>;

/** What a command receives for its options. */
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

/** One of a few words. */
export function choice<T extends string>(choices: readonly T[], description: string): Option<T | undefined> {
  const listed = choices.join(', ');
  const read = (given: readonly string[], flag: string) => {
    const raw = given.at(-1);
    const chosen = choices.find((word) => word === raw);
    if (raw !== undefined && chosen === undefined)
      throw new UsageError(`${flag} is '${raw}'; expected one of: ${listed}.`);
    return chosen;
  };
  return { placeholder: 'name', description: `${description}: ${listed}`, short: undefined, read };
}

/** `maxTokens` → `--max-tokens` */
export function flagName(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

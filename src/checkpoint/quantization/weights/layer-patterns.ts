import { ConfigError } from '../../../errors.ts';
import { describeJson } from '../../json/json.ts';

/** Characters of a pattern. Names of layers are far shorter. */
const MAX_PATTERN = 500;
/** Repetitions without a limit in one regular expression: each may multiply the time that it takes by a name's length. */
const MAX_REPETITIONS = 4;

/** How a tool reads the entries of its lists of layers, besides `re:` and wildcards. */
export type PlainEntry =
  /** The layer of that name. */
  | 'exact'
  /** The layer of that name, and those inside of it. */
  | 'path'
  /** Layers whose names contain the entry. */
  | 'part';

/** Entries of a list of layers: names, wildcards (`*`, `?`) and regular expressions (`re:…`, matched from the start). */
export class LayerPatterns {
  readonly entries: readonly string[];
  readonly #matchers: readonly ((prefix: string) => boolean)[];

  /** @param where the list is, for errors. @throws ConfigError */
  constructor(entries: readonly string[], where: string, plain: PlainEntry) {
    this.entries = entries;
    this.#matchers = entries.map((entry) => matcher(entry, where, plain));
  }

  matches(prefix: string): boolean {
    return this.#matchers.some((matches) => matches(prefix));
  }

  /** Index of the first entry that matches; -1: none does. */
  indexOf(prefix: string): number {
    return this.#matchers.findIndex((matches) => matches(prefix));
  }

  /** Entries that match none of these. */
  unmatched(prefixes: readonly string[]): string[] {
    return this.entries.filter((_, i) => !prefixes.some((prefix) => this.#matchers[i](prefix)));
  }
}

function matcher(entry: string, where: string, plain: PlainEntry): (prefix: string) => boolean {
  if (entry.length > MAX_PATTERN) throw tooComplex(entry, where);
  if (entry.startsWith('re:')) {
    const pattern = regularExpression(entry.slice(3), where);
    return (prefix) => pattern.test(prefix);
  }
  if (/[*?]/.test(entry)) return (prefix) => matchesWildcard(entry, prefix);
  if (plain === 'exact') return (prefix) => prefix === entry;
  if (plain === 'part') return (prefix) => prefix.includes(entry);
  return (prefix) => prefix === entry || prefix.startsWith(`${entry}.`);
}

/**
 * A regular expression as Python's `re.match` takes it. A model's config is not to be trusted with one that takes forever:
 * repetitions of groups are refused, and more than a few of others.
 * @throws ConfigError
 */
export function regularExpression(source: string, where: string): RegExp {
  const repetitions = source.replace(/\\./g, '').match(/[*+]|\{\d+,\d*\}/g)?.length ?? 0;
  const isNested = /\)[*+{]/.test(source.replace(/\\./g, ''));
  if (source.length > MAX_PATTERN || repetitions > MAX_REPETITIONS || isNested) throw tooComplex(`re:${source}`, where);
  try {
    return new RegExp(`^(?:${source.replaceAll('(?P<', '(?<')})`);
  } catch (error) {
    throw new ConfigError(
      `${where}: ${describeJson(`re:${source}`)} is no regular expression.`,
      'Compare with the file of the original model.',
      { cause: error },
    );
  }
}

function tooComplex(entry: string, where: string): ConfigError {
  return new ConfigError(
    `${where}: ${describeJson(entry)} is too complex for a pattern of layers.`,
    'Write it with fewer repetitions, or as several entries.',
  );
}

/** Compares with a pattern in which `*` is any text and `?` any character. Takes time in proportion to both at most. */
function matchesWildcard(pattern: string, text: string): boolean {
  let [p, t] = [0, 0];
  // Where to go on when the text after the last `*` does not fit: there `*` takes one character more.
  let [star, starText] = [-1, 0];
  while (t < text.length) {
    if (pattern[p] === '*') {
      [star, starText] = [p, t];
      p++;
    } else if (p < pattern.length && (pattern[p] === '?' || pattern[p] === text[t])) {
      p++;
      t++;
    } else if (star >= 0) {
      starText++;
      [p, t] = [star + 1, starText];
    } else {
      return false;
    }
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}

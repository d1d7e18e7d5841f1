import { parseArgs } from 'node:util';
import { closestNames } from '../../checkpoint/closest-names.ts';
import { flagName, type Options, type Values } from './option.ts';
import { UsageError } from './usage-error.ts';

/** A parsed command line. */
export interface Arguments<O extends Options> {
  readonly values: Values<O>;
  readonly positionals: readonly string[];
}

/**
 * Reads a command line against a table of options.
 * @throws UsageError
 */
export function parseArguments<O extends Options>(options: O, argv: readonly string[]): Arguments<O> {
  const names = new Map(Object.keys(options).map((name) => [flagName(name), name]));
  const given = new Map<string, string[]>();
  const positionals: string[] = [];
  for (const token of tokenize(options, argv)) {
    if (token.kind === 'positional') positionals.push(token.value);
    if (token.kind !== 'option') continue;
    const name = names.get(`--${token.name}`);
    if (name === undefined) throw unknownOption(token.rawName, names.keys());
    const isFlag = options[name].placeholder === undefined;
    const value = isFlag ? flagValue(token) : textValue(token, options[name].placeholder ?? '');
    given.set(name, [...(given.get(name) ?? []), value]);
  }
  const values = Object.entries(options).map(([name, option]) => [
    name,
    option.read(given.get(name) ?? [], flagName(name)),
  ]);
  return { values: Object.fromEntries(values) as Values<O>, positionals };
}

interface OptionToken {
  readonly name: string;
  readonly rawName: string;
  readonly value: string | undefined;
  readonly inlineValue: boolean | undefined;
}

/** Only the splitting is left to Node: its own checks call `--top-k -1` ambiguous, and its messages suit programmers. */
function tokenize(options: Options, argv: readonly string[]) {
  const table = Object.entries(options).map(([name, { placeholder, short }]) => [
    flagName(name).slice(2),
    { type: placeholder === undefined ? 'boolean' : 'string', multiple: true, ...(short ? { short } : {}) } as const,
  ]);
  return parseArgs({
    args: [...argv],
    options: Object.fromEntries(table),
    strict: false,
    allowPositionals: true,
    tokens: true,
  }).tokens;
}

function flagValue({ rawName, value }: OptionToken): string {
  if (value === undefined) return '';
  throw new UsageError(`${rawName} takes no value, but got '${value}'.`);
}

function textValue({ name, rawName, value, inlineValue }: OptionToken, placeholder: string): string {
  if (value === undefined) throw new UsageError(`${rawName} needs a value: ${rawName} <${placeholder}>.`);
  // The value is more likely a forgotten one; negative numbers and '-' alone are not options of anything.
  if (!inlineValue && /^-[^\d.]/.test(value)) {
    throw new UsageError(
      `${rawName} is followed by '${value}', which looks like an option.`,
      `If it is meant, write --${name}=${value}`,
    );
  }
  return value;
}

function unknownOption(rawName: string, known: Iterable<string>): UsageError {
  const [closest] = closestNames(rawName, known, 1);
  return new UsageError(`Unknown option '${rawName}'.`, closest ? `Did you mean ${closest}?` : '');
}

import { ConfigError } from '../../errors.ts';
import { asObject, describeJson, getOwn, type JsonObject, type JsonValue } from './json.ts';

/** A key of the config, or several names for it of which the first present one wins. */
export type ConfigKey = string | readonly string[];

/** Bounds of a number: `min` and `max` are included, `above` is not. */
export interface NumberRange {
  readonly min?: number | undefined;
  readonly max?: number | undefined;
  readonly above?: number | undefined;
}

/** Value of a key that is absent or null. Without a default the key is required. */
export interface Default<T> {
  readonly default?: T | undefined;
}

/**
 * Typed reads from a config.json. Every problem is a ConfigError that names the key, what it holds and what was
 * expected. A null counts as absent, because Python writes unset options so.
 */
export class ConfigReader {
  readonly fileName: string;
  readonly #json: JsonObject;

  constructor(json: JsonObject, fileName: string) {
    this.#json = json;
    this.fileName = fileName;
  }

  /** Whether the key is there and not null. */
  has(key: ConfigKey): boolean {
    return this.#find(key) !== undefined;
  }

  /** A whole number. 2.0 is accepted: Python keeps floats that were computed. */
  integer(key: ConfigKey, options: NumberRange & Default<number> = {}): number {
    return this.optionalInteger(key, options) ?? this.#default(key, options.default, `an integer${inRange(options)}`);
  }

  /** A whole number, or undefined when the key is absent. */
  optionalInteger(key: ConfigKey, range: NumberRange = {}): number | undefined {
    const isInteger = (value: JsonValue): value is number => Number.isSafeInteger(value) && within(value, range);
    return this.#read(key, isInteger, `an integer${inRange(range)}`);
  }

  /** A finite number. */
  number(key: ConfigKey, options: NumberRange & Default<number> = {}): number {
    return this.optionalNumber(key, options) ?? this.#default(key, options.default, `a number${inRange(options)}`);
  }

  /** A finite number, or undefined when the key is absent. */
  optionalNumber(key: ConfigKey, range: NumberRange = {}): number | undefined {
    const isNumber = (value: JsonValue): value is number => Number.isFinite(value) && within(value, range);
    return this.#read(key, isNumber, `a number${inRange(range)}`);
  }

  /** true or false. */
  boolean(key: ConfigKey, options: Default<boolean> = {}): boolean {
    return this.optionalBoolean(key) ?? this.#default(key, options.default, 'true or false');
  }

  /** true, false, or undefined when the key is absent. */
  optionalBoolean(key: ConfigKey): boolean | undefined {
    return this.#read(key, (value) => typeof value === 'boolean', 'true or false');
  }

  /** A string. */
  string(key: ConfigKey, options: Default<string> = {}): string {
    return this.optionalString(key) ?? this.#default(key, options.default, 'a string');
  }

  /** A string, or undefined when the key is absent. */
  optionalString(key: ConfigKey): string | undefined {
    return this.#read(key, (value) => typeof value === 'string', 'a string');
  }

  /** One of the given strings. */
  oneOf<T extends string>(key: ConfigKey, choices: readonly T[], options: Default<T> = {}): T {
    const expected = `one of ${choices.map((choice) => `'${choice}'`).join(', ')}`;
    const isChoice = (value: JsonValue): value is T => choices.some((choice) => choice === value);
    return this.#read(key, isChoice, expected) ?? this.#default(key, options.default, expected);
  }

  /**
   * Two numbers, which may be infinite, as in `time_step_limit`; some writers spell that out as a string. Without a
   * default the key is required.
   */
  numberPair(key: ConfigKey, fallback?: readonly [number, number]): readonly [number, number] {
    const expected = 'a list of two numbers';
    const isPair = (value: JsonValue): value is [JsonValue, JsonValue] =>
      Array.isArray(value) && value.length === 2 && value.every((n) => !Number.isNaN(asNumber(n)));
    const pair = this.#read<[JsonValue, JsonValue]>(key, isPair, expected);
    return pair ? [asNumber(pair[0]), asNumber(pair[1])] : this.#default(key, fallback, expected);
  }

  /** A list of `count` finite numbers. */
  numbers(key: ConfigKey, count: number, fallback: readonly number[]): readonly number[] {
    const isList = (value: JsonValue) => Array.isArray(value) && value.length === count && value.every(Number.isFinite);
    return this.#read<JsonValue & number[]>(key, isList, `a list of ${count} numbers`) ?? fallback;
  }

  /** A list of which `accepts` takes every element, or undefined when the key is absent. */
  optionalList<T extends JsonValue>(
    key: ConfigKey,
    accepts: (value: JsonValue) => boolean,
    expected: string,
  ): T[] | undefined {
    const areAll = (value: JsonValue) => Array.isArray(value) && value.every(accepts);
    return this.#read<JsonValue & T[]>(key, areAll, expected);
  }

  /** Names of all keys. */
  keys(): string[] {
    return Object.keys(this.#json);
  }

  /** Whether the key is there and null. */
  isNull(key: string): boolean {
    return getOwn(this.#json, key) === null;
  }

  /** Whether the key holds a list. */
  isList(key: string): boolean {
    return Array.isArray(getOwn(this.#json, key));
  }

  /** Whether the key holds true or false. */
  isBoolean(key: string): boolean {
    return typeof getOwn(this.#json, key) === 'boolean';
  }

  /** Whether the key holds a string. */
  isString(key: string): boolean {
    return typeof getOwn(this.#json, key) === 'string';
  }

  /** The reader of a nested object, or undefined when the key is absent. */
  section(key: ConfigKey): ConfigReader | undefined {
    const found = this.#find(key);
    if (found === undefined) return undefined;
    this.#read(key, (value) => typeof value === 'object' && !Array.isArray(value), 'an object');
    const where = `${this.fileName}, ${found.name}`;
    return new ConfigReader(asObject(found.value, where), where);
  }

  #find(key: ConfigKey): { name: string; value: JsonValue } | undefined {
    for (const name of names(key)) {
      const value = getOwn(this.#json, name);
      if (value !== undefined && value !== null) return { name, value };
    }
    return undefined;
  }

  #read<T extends JsonValue>(key: ConfigKey, accepts: (value: JsonValue) => boolean, expected: string): T | undefined {
    const found = this.#find(key);
    if (found === undefined) return undefined;
    if (accepts(found.value)) return found.value as T;
    throw new ConfigError(
      `${this.fileName}: '${found.name}' is ${describeJson(found.value)}, expected ${expected}.`,
      'Compare with the file of the original model.',
    );
  }

  #default<T>(key: ConfigKey, fallback: T | undefined, expected: string): T {
    if (fallback !== undefined) return fallback;
    const wanted = names(key)
      .map((name) => `'${name}'`)
      .join(' or ');
    throw new ConfigError(
      `${this.fileName}: ${wanted} is missing, expected ${expected}.`,
      'Compare with the file of the original model.',
    );
  }
}

function names(key: ConfigKey): readonly string[] {
  return typeof key === 'string' ? [key] : key;
}

/** NaN for what is no number. */
function asNumber(value: JsonValue): number {
  if (value === 'Infinity' || value === 'inf') return Number.POSITIVE_INFINITY;
  return typeof value === 'number' ? value : Number.NaN;
}

function within(value: JsonValue, { min, max, above }: NumberRange): boolean {
  if (typeof value !== 'number') return false;
  return value >= (min ?? -Infinity) && value <= (max ?? Infinity) && (above === undefined || value > above);
}

function inRange({ min, max, above }: NumberRange): string {
  if (above !== undefined) return ` above ${above}${max === undefined ? '' : ` and of at most ${max}`}`;
  if (min !== undefined && max !== undefined) return ` from ${min} to ${max}`;
  if (min !== undefined) return ` of at least ${min}`;
  return max === undefined ? '' : ` of at most ${max}`;
}

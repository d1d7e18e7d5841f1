import { ConfigError } from '../../../errors.ts';
import type { ConfigReader } from '../../json/config-reader.ts';
import { LayerPatterns } from './layer-patterns.ts';

/** Output heads: tools list one whether or not the model has it as a tensor of its own. */
const HEAD = /^(?:re:)?[.*\\^]*(?:lm_head|output_layer|embed_out)[.*$]*$/;
/** Name of a class of layers, such as Linear. Which class a layer is of, the weights do not say. */
const CLASS_NAME = /^[A-Z]\w*$/;

/** A list of layers that a config says were not quantised. */
export class Exclusions {
  readonly #where: string;
  readonly #entries: readonly string[];
  /** What entries mean at most: tools differ, and some take parts of names. */
  readonly #named: LayerPatterns;
  /** What they mean at least. */
  readonly #excluded: LayerPatterns | undefined;

  /**
   * @param where the list is: file and key.
   * @param isStrict an excluded layer with quantised weights is a contradiction.
   * @throws ConfigError
   */
  constructor(entries: readonly string[], where: string, { isStrict }: { readonly isStrict: boolean }) {
    this.#where = where;
    this.#entries = entries.filter((entry) => !HEAD.test(entry) && !CLASS_NAME.test(entry));
    this.#named = new LayerPatterns(this.#entries, where, 'part');
    this.#excluded = isStrict ? new LayerPatterns(entries, where, 'exact') : undefined;
  }

  /** @throws ConfigError if the list excludes a layer whose weights are quantised. */
  assertIncluded(prefix: string, codesName: string): void {
    if (!this.#excluded?.matches(prefix)) return;
    throw new ConfigError(
      `${this.#where} excludes '${prefix}', but '${codesName}' is quantized.`,
      'The weights do not belong to this config; compare with the file of the original model.',
    );
  }

  /**
   * Looks every entry up among the model's layers. One that names none is a warning: it may have named a part that was not
   * exported. If none of them names one, the list is that of another model.
   * @param prefixes names of all layers, and of those around them.
   * @returns warnings.
   * @throws ConfigError
   */
  check(prefixes: readonly string[]): string[] {
    const unmatched = this.#named.unmatched(prefixes);
    if (unmatched.length === 0) return [];
    const shown = unmatched.slice(0, 3).map((entry) => `'${entry}'`);
    const listed = unmatched.length > 3 ? `${shown.join(', ')} and ${unmatched.length - 3} more` : shown.join(', ');
    if (unmatched.length < this.#entries.length) {
      return [`${this.#where} has entries that name no layer of this model: ${listed}.`];
    }
    throw new ConfigError(
      `${this.#where} names no layer of this model: ${listed}.`,
      'The list belongs to another model, or its names are misspelt; compare with the file of the original model.',
    );
  }
}

/** The list of excluded layers under the first of these keys that is there. @throws ConfigError */
export function exclusionsOf(
  config: ConfigReader,
  keys: readonly string[],
  options: { readonly isStrict: boolean },
): Exclusions | undefined {
  const key = keys.find((name) => config.has(name));
  if (key === undefined) return undefined;
  const entries = config.optionalList<string>(key, (entry) => typeof entry === 'string', 'a list of names of layers');
  return entries && new Exclusions(entries, `${config.fileName}: '${key}'`, options);
}

import { toIndex } from './numbers.ts';
import { type Kwargs, orElse, plain, TemplateError, typeName, Undefined, type Value } from './values.ts';

/** The arguments of a call by the names of parameters, bound as Python binds them. Markups are texts in it. */
export class CallArguments {
  readonly #name: string;
  readonly #bound = new Map<string, Value>();

  /**
   * @param parameters their names; one that ends with `?` is optional.
   * @throws TemplateError for arguments that are missing, given twice, or unknown.
   */
  constructor(name: string, parameters: readonly string[], args: readonly Value[], kwargs: Kwargs) {
    this.#name = name;
    if (args.length > parameters.length) {
      throw new TemplateError(`${name}() takes at most ${parameters.length} argument(s), and got ${args.length}`);
    }
    for (const [i, value] of args.entries()) this.#bound.set(bare(parameters[i]), plain(value));
    const names = new Set(parameters.map(bare));
    for (const [key, value] of kwargs) {
      if (!names.has(key)) throw new TemplateError(`${name}() got an unexpected keyword argument '${key}'`);
      if (this.#bound.has(key)) throw new TemplateError(`${name}() got multiple values for argument '${key}'`);
      this.#bound.set(key, plain(value));
    }
    const missing = parameters.find((parameter) => !parameter.endsWith('?') && !this.#bound.has(parameter));
    if (missing !== undefined) throw new TemplateError(`${name}() missing its argument '${missing}'`);
  }

  get(parameter: string): Value | undefined {
    return this.#bound.get(parameter);
  }

  /** A parameter that is required, or has a default. */
  value(parameter: string, otherwise: Value = null): Value {
    return orElse(this.#bound.get(parameter), () => otherwise);
  }

  text(parameter: string, otherwise?: string): string {
    const value = orElse(this.#bound.get(parameter), () => otherwise);
    if (typeof value === 'string') return value;
    throw this.#wrong(parameter, value, 'str');
  }

  /** null where it is None or left out. */
  textOrNone(parameter: string): string | null {
    const value = this.value(parameter);
    if (value === null || typeof value === 'string') return value;
    throw this.#wrong(parameter, value, 'str or None');
  }

  integer(parameter: string, otherwise: number): number {
    const value = this.#bound.get(parameter);
    return value === undefined ? otherwise : toIndex(value);
  }

  #wrong(parameter: string, value: Value | undefined, expected: string): TemplateError {
    if (value instanceof Undefined) return new TemplateError(value.problem);
    const got = value === undefined ? 'nothing' : typeName(value);
    return new TemplateError(`${this.#name}() argument '${parameter}' must be ${expected}, not ${got}`);
  }
}

function bare(parameter: string): string {
  return parameter.endsWith('?') ? parameter.slice(0, -1) : parameter;
}

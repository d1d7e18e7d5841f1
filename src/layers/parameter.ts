import { DuplicateLayerError, UnexpectedTensorError } from '../errors.ts';
import type { WeightLoader } from './weight-loaders.ts';

/** One weight of a layer: what the checkpoint must hold, what this rank takes of it, and where that goes. */
export interface Parameter {
  /** Shape in the checkpoint. */
  readonly shape: readonly number[];
  readonly loader: WeightLoader;
  /** Takes this rank's values to the backend. */
  readonly place: (values: Float32Array) => void;
}

/** A layer that owns weights, under names relative to itself. */
export interface Module {
  parameters(): Iterable<readonly [name: string, parameter: Parameter]>;
}

/** A part's parameters under the part's name. */
export function* prefixed(prefix: string, module: Module): Iterable<readonly [string, Parameter]> {
  for (const [name, parameter] of module.parameters()) yield [`${prefix}.${name}`, parameter];
}

/** The parameters of a whole model by the names that the model itself gives them. */
export class ParameterTable {
  readonly #parameters = new Map<string, Parameter>();

  constructor(model: Module) {
    for (const [name, parameter] of model.parameters()) {
      if (this.#parameters.has(name)) throw new DuplicateLayerError(`Two layers own the weight '${name}'.`);
      this.#parameters.set(name, parameter);
    }
  }

  names(): string[] {
    return [...this.#parameters.keys()];
  }

  /** Shape that the checkpoint must hold under this name. */
  shape(name: string): readonly number[] {
    return this.#get(name).shape;
  }

  /** Loads one whole checkpoint tensor of the parameter's shape. */
  load(name: string, values: Float32Array): void {
    const { loader, shape, place } = this.#get(name);
    place(loader(values, shape));
  }

  #get(name: string): Parameter {
    const parameter = this.#parameters.get(name);
    if (parameter === undefined) {
      throw new UnexpectedTensorError(`No layer of the model takes the weight '${name}'.`);
    }
    return parameter;
  }
}

/** A value that is there only once its weights have been loaded. */
export class Loaded<T> {
  readonly #what: string;
  #value: T | undefined;

  constructor(what: string) {
    this.#what = what;
  }

  set(value: T): void {
    this.#value = value;
  }

  get(): T {
    if (this.#value === undefined)
      throw new UnexpectedTensorError(`${this.#what} is used before its weights are loaded.`);
    return this.#value;
  }
}

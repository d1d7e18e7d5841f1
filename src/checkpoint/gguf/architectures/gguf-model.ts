import { ConfigError, MissingTensorError, UnexpectedTensorError } from '../../../errors.ts';
import type { StoredTensor } from '../../files/stored-tensor.ts';
import type { JsonObject } from '../../json/json.ts';
import type { Gguf } from '../gguf.ts';

/** What a tensor of the checkpoint is made of: views of the file's tensors. */
export type View = (parts: readonly StoredTensor[]) => StoredTensor;

/** A model of one architecture, on its way from llama.cpp's names to those of Hugging Face. */
export class GgufModel {
  readonly name: string;
  readonly #gguf: Gguf;
  readonly #architecture: string;
  /** Positions of the file's tensors in the order of the data. */
  readonly #positions: ReadonlyMap<string, number>;
  readonly #taken = new Set<string>();
  readonly #made = new Map<string, { readonly tensor: StoredTensor; readonly position: number }>();

  constructor(gguf: Gguf, architecture: string) {
    this.name = gguf.name;
    this.#gguf = gguf;
    this.#architecture = architecture;
    this.#positions = new Map([...gguf.tensors.keys()].map((name, i) => [name, i]));
  }

  /** A whole number of the architecture's metadata, `ssm.state_size` for `mamba2.ssm.state_size`. */
  integer(key: string): number {
    return this.#gguf.metadata.integer(this.#key(key));
  }

  optionalInteger(key: string): number | undefined {
    return this.#gguf.metadata.optionalInteger(this.#key(key));
  }

  number(key: string): number {
    return this.#gguf.metadata.number(this.#key(key));
  }

  /** A number; undefined where it is absent or 0, which llama.cpp takes for absent. */
  factor(key: string): number | undefined {
    return this.#gguf.metadata.optionalNumber(this.#key(key)) || undefined;
  }

  optionalBoolean(key: string): boolean | undefined {
    return this.#gguf.metadata.optionalBoolean(this.#key(key));
  }

  optionalString(key: string): string | undefined {
    return this.#gguf.metadata.optionalString(this.#key(key));
  }

  /**
   * A number that the file has once, or for each layer, and that is the same for all layers that have one.
   * @param layers those that have one.
   * @throws ConfigError when it differs.
   */
  sameForAll(key: string, layers: readonly number[]): number {
    const { metadata } = this.#gguf;
    if (!metadata.isArray(this.#key(key))) return this.integer(key);
    const values = metadata.integers(this.#key(key));
    const found = new Set(layers.map((i) => values[i]));
    if (found.size <= 1) return found.values().next().value ?? 0;
    throw new ConfigError(
      `${this.name}: '${this.#key(key)}' is ${[...found].join(' and ')} in different layers.`,
      'Models whose layers differ in that are not supported.',
    );
  }

  /** Whether the file has a tensor. */
  has(name: string): boolean {
    return this.#positions.has(name);
  }

  /** Row-major shape of one of the file's tensors. @throws MissingTensorError */
  shape(name: string): readonly number[] {
    return this.#tensor(name).shape;
  }

  /**
   * A tensor of the checkpoint, made of some of the file's.
   * @param from llama.cpp's names.
   * @throws MissingTensorError
   */
  add(name: string, from: string | readonly string[], view: View = ([tensor]) => tensor): void {
    const names = [from].flat();
    const parts = names.map((each) => this.#tensor(each));
    for (const each of names) this.#taken.add(each);
    const position = Math.max(...names.map((each) => this.#positions.get(each) ?? 0));
    this.#made.set(name, { tensor: view(parts), position });
  }

  /** A linear layer: its weight, and its bias if there is one. */
  addLinear(name: string, from: string | readonly string[], view?: View): void {
    const names = [from].flat();
    this.add(
      `${name}.weight`,
      names.map((each) => `${each}.weight`),
      view,
    );
    if (this.has(`${names[0]}.bias`)) {
      this.add(
        `${name}.bias`,
        names.map((each) => `${each}.bias`),
        view,
      );
    }
  }

  /** Leaves tensors out of the checkpoint that no part of the model is made of. */
  ignore(accepts: (name: string) => boolean): void {
    for (const name of this.#positions.keys()) if (accepts(name)) this.#taken.add(name);
  }

  /**
   * The checkpoint's tensors in the order of the data.
   * @throws UnexpectedTensorError when the file has others.
   */
  tensors(): ReadonlyMap<string, StoredTensor> {
    const left = [...this.#positions.keys()].filter((name) => !this.#taken.has(name));
    if (left.length > 0) {
      const more = left.length > 1 ? ` and ${left.length - 1} more` : '';
      throw new UnexpectedTensorError(
        `${this.name} has the tensor '${left[0]}'${more}, which models of '${this.#architecture}' do not have here.`,
        'It was converted from a variant of the model that is not supported; use the original repository.',
      );
    }
    return new Map(
      [...this.#made]
        .sort(([, a], [, b]) => a.position - b.position)
        .map(([name, { tensor }]) => [name, tensor] as const),
    );
  }

  #key(key: string): string {
    return `${this.#architecture}.${key}`;
  }

  #tensor(name: string): StoredTensor {
    const tensor = this.#gguf.tensors.get(name);
    if (tensor !== undefined) return tensor;
    throw new MissingTensorError(
      `${this.name} has no tensor '${name}'.`,
      'The file is incomplete; download it again, with all parts if it is split.',
    );
  }
}

/** An architecture of llama.cpp: which one it is here. */
export interface GgufArchitecture {
  /** Value of `general.architecture`. */
  readonly name: string;
  /**
   * Maps the tensors, and makes the config.json, without the tokens' ids.
   * @throws GgufError, ConfigError, MissingTensorError
   */
  describe(model: GgufModel): JsonObject;
}

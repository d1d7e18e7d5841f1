import { DuplicateLayerError, ShapeError, UnexpectedTensorError } from '../../errors.ts';
import { elementCount, formatShape } from '../../tensor/tensor.ts';
import type { RowSink } from './row-sink.ts';
import { loadShard, type RowRun, rowSize, type WeightLoader } from './weight-loaders.ts';

/** One weight of a layer: what the checkpoint must hold, what this rank takes of it, and where that goes. */
export interface Parameter {
  /** Shape in the checkpoint. */
  readonly shape: readonly number[];
  readonly loader: WeightLoader;
  /** Begins to take this rank's values to the backend. */
  readonly place: () => RowSink;
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

  /** Values of the checkpoint tensor that this rank reads. */
  valuesToRead(name: string): number {
    return this.shardSize(name).rows * rowSize(this.shape(name));
  }

  /** What this rank holds: so many rows with so many values each. */
  shardSize(name: string): { readonly rows: number; readonly columns: number } {
    const { loader, shape } = this.#get(name);
    const rows = loader.rows(shape).reduce((sum, run) => sum + run.rows, 0);
    return { rows, columns: loader.part(new Float32Array(rowSize(shape)), shape).length };
  }

  /** Loads one whole checkpoint tensor of the parameter's shape. */
  load(name: string, values: Float32Array): void {
    const { loader, shape, place } = this.#get(name);
    if (values.length !== elementCount(shape)) {
      throw new ShapeError(`${values.length} values came for the weight '${name}' of shape ${formatShape(shape)}.`);
    }
    const sink = place();
    sink.write(loadShard(loader, values, shape));
    sink.finish();
  }

  /**
   * Loads a checkpoint tensor of which no more than a block is in memory at a time.
   * @param maxValues in a block; a row may be more.
   * @param read gives whole rows, row-major; they are overwritten before the next call.
   */
  async stream(
    name: string,
    maxValues: number,
    read: (block: RowRun) => Float32Array | Promise<Float32Array>,
  ): Promise<void> {
    const { loader, shape, place } = this.#get(name);
    const maxRows = Math.max(1, Math.floor(maxValues / rowSize(shape)));
    const sink = place();
    for (const run of loader.rows(shape)) {
      const end = run.firstRow + run.rows;
      for (let firstRow = run.firstRow; firstRow < end; firstRow += maxRows) {
        const rows = Math.min(maxRows, end - firstRow);
        sink.write(loader.part(await read({ firstRow, rows }), shape));
      }
    }
    sink.finish();
  }

  #get(name: string): Parameter {
    const parameter = this.#parameters.get(name);
    if (parameter === undefined) {
      throw new UnexpectedTensorError(`No layer of the model takes the weight '${name}'.`);
    }
    return parameter;
  }
}

/** Whether a weight is a matrix, or a stack of them as experts' are; a convolution's has three axes, too. */
export function isMatrix(name: string, { length }: readonly number[]): boolean {
  return name.endsWith('.weight') && (length === 2 || (length === 3 && !name.includes('conv1d.')));
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

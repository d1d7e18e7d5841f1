import { DuplicateLayerError, ShapeError, UnexpectedTensorError } from '../../errors.ts';
import { type BlockFormat, blockRowBytes, isBlockFormat, type MatrixDType } from '../../tensor/block-formats.ts';
import { elementCount, formatShape } from '../../tensor/tensor.ts';
import type { RowSink } from './row-sink.ts';
import { loadShard, type RowRun, rowSize, type WeightLoader } from './weight-loaders.ts';

/** Role of a matrix, which is kept in a weight dtype. */
export type MatrixRole =
  /** Table whose rows are looked up by token id. */
  | 'embedding'
  /** Matrix that makes logits: a model's output head, or the table that serves as head and embeddings. */
  | 'head'
  /** Matrix of a linear layer. */
  | 'projection'
  /** Matrix that scores a token's experts. */
  | 'router'
  /** Matrix of one expert, (outputs, inputs), or those of all stacked: (experts, outputs, inputs). */
  | 'expert';

/** Role of a weight in its layer. Storage, counts and synthetic values depend on it, never on a weight's name. */
export type ParameterRole =
  | MatrixRole
  /** Taps of a convolution. */
  | 'conv'
  | 'norm'
  | 'bias'
  /** Bias of the choice of experts, which their weights do not see. */
  | 'correctionBias'
  /** `A_log` of a mixer, log(-A), or `A` itself. */
  | 'logDecay'
  /** `dt_bias` of a mixer. */
  | 'stepBias'
  /** `D` of a mixer: how much of x passes the state-space model by. */
  | 'skip';

/** Part of a layer that a weight belongs to, for reports. Norms, embeddings and head are told by their roles. */
export type ParameterPart = 'inProj' | 'conv' | 'outProj' | 'attention' | 'feedForward' | 'experts';

/** A weight of a layer: the shape that the checkpoint must hold, the part that this rank takes, and the sink for it. */
export interface Parameter {
  readonly role: ParameterRole;
  /** Absent: in none of them. */
  readonly part?: ParameterPart | undefined;
  /** Storage of a matrix on this rank. Absent: float32. */
  readonly dtype?: MatrixDType | undefined;
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

/** A module's parameters under the module's name. */
export function* prefixed(
  prefix: string,
  module: Module,
  part?: ParameterPart,
): Iterable<readonly [string, Parameter]> {
  for (const [name, parameter] of partOf(part, module)) yield [`${prefix}.${name}`, parameter];
}

/** A module's parameters as those of a part of a layer, unless a module inside has said more. */
export function* partOf(part: ParameterPart | undefined, module: Module): Iterable<readonly [string, Parameter]> {
  for (const [name, parameter] of module.parameters()) yield [name, { ...parameter, part: parameter.part ?? part }];
}

/**
 * The parameters of a whole model by the names that the model itself gives them.
 *
 * @example
 * ```ts
 * const table = new ParameterTable(new Mixer2RMSNormGated(context, 512, 1));
 * console.log(table.names(), table.shape('weight')); // ['weight'] and [512]
 * table.load('weight', new Float32Array(512).fill(1));
 * ```
 */
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

  role(name: string): ParameterRole {
    return this.#get(name).role;
  }

  part(name: string): ParameterPart | undefined {
    return this.#get(name).part;
  }

  /** Storage of the weight on this rank. */
  dtype(name: string): MatrixDType {
    return this.#get(name).dtype ?? 'float32';
  }

  /** Shape that the checkpoint must hold under this name. */
  shape(name: string): readonly number[] {
    return this.#get(name).shape;
  }

  /** Values of the checkpoint tensor that this rank reads. */
  valuesToRead(name: string): number {
    return this.shardSize(name).rows * rowSize(this.shape(name));
  }

  /** Rows that this rank holds, and values in each. */
  shardSize(name: string): { readonly rows: number; readonly columns: number } {
    const { loader, shape } = this.#get(name);
    const rows = loader.rows(shape).reduce((sum, run) => sum + run.rows, 0);
    return { rows, columns: loader.part(new Float32Array(rowSize(shape)), shape).length };
  }

  /** Loads one whole checkpoint tensor of the parameter's shape. */
  load(name: string, values: Float32Array): void {
    const { loader, shape, place } = this.#get(name);
    if (values.length !== elementCount(shape)) {
      throw new ShapeError(`The weight '${name}' of shape ${formatShape(shape)} was given ${values.length} values.`);
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
    const sink = place();
    for (const run of this.runs(name, maxValues)) sink.write(loader.part(await read(run), shape));
    sink.finish();
  }

  /** The rows that {@link stream} reads, one block after the other. */
  runs(name: string, maxValues: number): readonly RowRun[] {
    return this.#runs(name, Math.floor(maxValues / rowSize(this.shape(name))));
  }

  /**
   * Loads a checkpoint tensor whose blocks the backend keeps: one whose `dtype` is a block format.
   * @param maxBytes in memory at a time; a row may be more.
   * @param read gives whole rows as they are stored.
   */
  async streamBlocks(name: string, maxBytes: number, read: (block: RowRun) => Promise<Uint8Array>): Promise<void> {
    const { loader, shape, place } = this.#get(name);
    const dtype = this.dtype(name);
    const sink = place();
    if (!isBlockFormat(dtype) || sink.writeBlocks === undefined) {
      throw new UnexpectedTensorError(`The weight '${name}' is not kept in blocks.`);
    }
    const stored = [...shape.slice(0, -1), blockRowBytes(dtype, shape[shape.length - 1])];
    for (const run of this.blockRuns(name, dtype, maxBytes)) {
      const blocks = await read(run);
      // Columns of a rank are whole blocks, so bytes are cut as values are.
      sink.writeBlocks(loader.partOfBytes?.(blocks, stored) ?? blocks);
    }
    sink.finish();
  }

  /** The rows that {@link streamBlocks} reads, one block of bytes after the other. */
  blockRuns(name: string, format: BlockFormat, maxBytes: number): readonly RowRun[] {
    return this.#runs(name, Math.floor(maxBytes / blockRowBytes(format, rowSize(this.shape(name)))));
  }

  #runs(name: string, maxRows: number): RowRun[] {
    const { loader, shape } = this.#get(name);
    const most = Math.max(1, maxRows);
    return loader.rows(shape).flatMap(({ firstRow, rows }) =>
      Array.from({ length: Math.ceil(rows / most) }, (_, i) => {
        return { firstRow: firstRow + i * most, rows: Math.min(most, rows - i * most) };
      }),
    );
  }

  #get(name: string): Parameter {
    const parameter = this.#parameters.get(name);
    if (parameter === undefined) {
      throw new UnexpectedTensorError(`No layer of the model takes the weight '${name}'.`);
    }
    return parameter;
  }
}

const MATRIX_ROLES: ReadonlySet<ParameterRole> = new Set<MatrixRole>([
  'embedding',
  'head',
  'projection',
  'router',
  'expert',
]);

/** Whether weights of a role are matrices, or stacks of them. They are kept in a weight dtype, others as float32. */
export function isMatrixRole(role: ParameterRole): role is MatrixRole {
  return MATRIX_ROLES.has(role);
}

/**
 * A value that exists only once its weights have been loaded; reading it earlier throws.
 *
 * @example
 * ```ts
 * const scale = new Loaded<number>('A layer');
 * scale.set(2); // when the weights come
 * console.log(scale.get()); // 2
 * ```
 */
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

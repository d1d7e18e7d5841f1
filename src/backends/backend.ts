import type { ProcessGroup } from '../distributed/process-group.ts';
import type { WeightDType } from '../tensor/dtype.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { AttentionOps } from './attention-ops.ts';
import type { FeedForwardOps } from './feed-forward-ops.ts';
import type { SamplingOps } from './sampling-ops.ts';
import type { SavedSlot } from './saved-slot.ts';
import type { StateSpaceOps } from './state-space-ops.ts';

/** The matrix of a linear layer or embedding in a backend's own layout. (outFeatures, inFeatures), as checkpoints have it. */
export interface LinearWeight {
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly dtype: WeightDType;
}

/** Takes a {@link LinearWeight} block of rows by block of rows, so that nobody has to hold the whole matrix as float32. */
export interface LinearWeightWriter {
  /**
   * Rows from `firstRow` on. Blocks come in any order; a row comes once.
   * @param values (n, inFeatures), row-major; may be reused after.
   * @throws ShapeError when they are not whole rows of the matrix.
   */
  writeRows(firstRow: number, values: Float32Array): void;
  /** The matrix; rows that never came are zeros. Nothing may be written after. */
  finish(): LinearWeight;
}

/** What a model keeps in a backend's memory. */
export interface MemoryNeed {
  readonly matrices: readonly LinearWeight[];
  /** float32 values beside. */
  readonly floats: number;
}

/** Who watches what is prepared. */
export interface PrepareWatch {
  /** Is told how many of how many kernels are compiled. */
  readonly onProgress?: ((compiled: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Which columns of the whole row a rank holds, and how the row is divided into groups for a grouped norm. */
export interface GroupLayout {
  /** Position of the rank's first column in the whole row. */
  readonly firstColumn: number;
  /** Columns per group; group g covers columns [g * groupSize, (g + 1) * groupSize) of the whole row. */
  readonly groupSize: number;
}

/**
 * A place where arrays live and operations run. This file and `*-ops.ts` beside it are the contract; the `reference`
 * backend is its executable form, and every other backend is tested against it.
 *
 * For all operations:
 * - Activations are float32, state and accumulation too. Letters: T rows (tokens), C columns (channels).
 * - Calling an operation enqueues it. Results are read with {@link Backend.read}.
 * - An operation throws ShapeError, ArgumentError or MetadataError (slots, row starts) at the call when its arguments
 *   break the contract.
 * - Where `out` can be passed, the result is written there (it may be a view) and returned; it never aliases an input
 *   unless the operation says so.
 * - T = 0 is legal everywhere and does nothing.
 */
export interface Backend extends StateSpaceOps, AttentionOps, FeedForwardOps {
  readonly name: string;

  // --- life: for backends that hold more than memory of their process ----------------------------------------------

  /** Makes sure that a model will find its memory, before anything of it is loaded. @throws OutOfDeviceMemoryError */
  reserve?(need: MemoryNeed): Promise<void>;

  /** Resolves, with the reason, when it can't compute any more although it was not disposed of. Absent: it does not happen. */
  readonly failed?: Promise<Error> | undefined;

  /** Readies what each of `runs` enqueues without running it. Rejects with the signal's reason once it is aborted. */
  prepare?(runs: readonly (() => void)[], watch?: PrepareWatch): Promise<void>;

  /**
   * Numbers of rows, `most` among them, such that where steps of as many decodes are readied, those of any other number
   * up to `most` usually need nothing else.
   */
  decodesToPrepare?(most: number): readonly number[];

  /**
   * How many rows may take the place of one in what `run` enqueues, for no tensor to become larger than every operation
   * takes. Nothing runs. Absent: any number.
   */
  maxRows?(run: () => void): number;

  /** Gives back what garbage collection does not. The backend can't be used any more. */
  dispose?(): void;

  /** Absent where logits are on the host anyway. */
  readonly sampling?: SamplingOps;

  // --- arrays -----------------------------------------------------------------------------------------------------

  /**
   * Runs `run`, whose intermediate results need not outlive it: what is made inside is gone at its end. Results are read
   * inside. What is made outside of any scope (weights, states) stays.
   */
  scope<T>(run: () => T): T;

  /**
   * Runs `compute` on int32 vectors in a scope; its results live until something else is made. A backend may repeat what
   * was enqueued the last time under the same key instead of running `compute` again, as CUDA graphs do for vLLM: so what
   * `compute` does may depend on the key and on the lengths of the inputs, but not on their values, and it must not bring
   * host data of its own (no `tensor`). Values are checked when `compute` runs; who repeats a step checks them first.
   */
  step(
    key: string,
    inputs: readonly Int32Array[],
    compute: (inputs: readonly Tensor[]) => readonly Tensor[],
  ): readonly Tensor[];

  /** A copy of host data. */
  tensor(data: Float32Array | Int32Array, shape: readonly number[]): Tensor;

  /** float32 zeros. */
  zeros(shape: readonly number[]): Tensor;

  /** float32 values that nobody has set yet. */
  empty(shape: readonly number[]): Tensor;

  /**
   * A copy of a float32 tensor on the host, contiguous, once everything enqueued before has run.
   * @param reuse an array that nobody needs any more: the copy may lie in its memory.
   */
  read(x: Tensor, reuse?: Float32Array<ArrayBuffer>): Promise<Float32Array<ArrayBuffer>>;

  /** Views of consecutive columns of x (T, C): sizes sum to C. */
  splitColumns(x: Tensor, sizes: readonly number[]): Tensor[];

  /** The columns of several tensors (T, Cᵢ) side by side: (T, ΣCᵢ). At least one. */
  concatColumns(parts: readonly Tensor[]): Tensor;

  /** A view of rows [begin, end) of x. */
  sliceRows(x: Tensor, begin: number, end: number): Tensor;

  /** The same elements under another shape with the same first extent. */
  reshape(x: Tensor, shape: readonly number[]): Tensor;

  /** Copies slot `from` of a state (slots, ...) over slot `to`. */
  copySlot(state: Tensor, from: number, to: number): void;

  /**
   * A copy of a slot of a state (slots, ...) as it is once everything enqueued before has run.
   * @param reuse a saved slot of the same size that nobody needs any more: its memory may be taken.
   */
  saveSlot(state: Tensor, slot: number, reuse?: SavedSlot): SavedSlot;

  /** Puts a saved slot, of this or any other slot of such a state, over slot `slot`. */
  loadSlot(state: Tensor, slot: number, saved: SavedSlot): void;

  // --- dense layers -----------------------------------------------------------------------------------------------

  /** Makes a matrix (outFeatures, inFeatures) in the backend's layout, rounded to `dtype`, of rows that are yet to come. */
  linearWeightWriter(outFeatures: number, inFeatures: number, dtype: WeightDType): LinearWeightWriter;

  /**
   * The same for the matrices of one kind of all experts of a mixture, which `fusedMoe` takes together, and nothing else.
   * Absent: a backend for which it makes no difference how they are written.
   */
  expertWeightWriters?(
    count: number,
    outFeatures: number,
    inFeatures: number,
    dtype: WeightDType,
  ): LinearWeightWriter[];

  /** The same of all rows at once. `weight` may be reused after. */
  linearWeight(weight: Float32Array, outFeatures: number, inFeatures: number, dtype: WeightDType): LinearWeight;

  /** y = x Wᵀ + bias. x (T, in), W (out, in), bias (out) → (T, out). Each output sums over `in` in ascending order. */
  linear(x: Tensor, weight: LinearWeight, bias?: Tensor): Tensor;

  /**
   * Rows of a table by id: ids (T) int32, table (rows, C) → (T, C). The table holds ids [firstRow, firstRow + rows);
   * other ids give a row of zeros, so that ranks that hold parts of a vocabulary can sum their results.
   */
  embedding(ids: Tensor, table: LinearWeight, firstRow?: number): Tensor;

  /** The rows of x (T, C) that rows (R) int32 names, in that order → (R, C). */
  gatherRows(x: Tensor, rows: Tensor): Tensor;

  /** x + y, both (T, C). */
  add(x: Tensor, y: Tensor): Tensor;

  /** x (T, C) times a number. */
  mulScalar(x: Tensor, factor: number): Tensor;

  /** Every row of x (T, C) times v (C), element by element. */
  mulColumns(x: Tensor, v: Tensor): Tensor;

  // --- norms ------------------------------------------------------------------------------------------------------

  /** x / sqrt(mean(x²) + eps) * weight, per row. x (T, C), weight (C). */
  rmsNorm(x: Tensor, weight: Tensor, eps: number): Tensor;

  /** x * silu(z), silu(z) = z / (1 + exp(-z)). Both (T, C). */
  siluGate(x: Tensor, z: Tensor): Tensor;

  /** Per row and group, the sum of squares over the columns held here. v (T, C) → (T, groups); absent groups are 0. */
  groupSquareSums(v: Tensor, groups: number, layout: GroupLayout): Tensor;

  /**
   * v / sqrt(squareSums / groupSize + eps) * weight with each column's group. v (T, C), squareSums (T, groups) over the
   * whole row, weight (C).
   */
  scaleByGroupNorm(v: Tensor, squareSums: Tensor, weight: Tensor, eps: number, layout: GroupLayout): Tensor;

  /** x / sqrt(squareSums / count + eps), per row: what scaleByGroupNorm does with one group. x (T, C), squareSums (T, 1). */
  scaleRows(x: Tensor, squareSums: Tensor, count: number, eps: number): Tensor;

  // --- collectives ------------------------------------------------------------------------------------------------

  /** Each tensor's sum over all ranks, on all ranks, in one exchange. The tensors may be overwritten. */
  allReduce(tensors: readonly Tensor[], group: ProcessGroup): Tensor[];

  /** The ranks' columns side by side: x (T, C) → (T, size * C). */
  allGatherColumns(x: Tensor, group: ProcessGroup): Tensor;
}

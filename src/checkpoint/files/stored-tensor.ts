import type { Mamba2Error } from '../../errors.ts';
import type { BlockFormat } from '../../tensor/block-formats.ts';
import type { ReadScratch } from './read-scratch.ts';
import type { RowRange } from './row-range.ts';

/** Rows of a matrix, or whole matrices of a stack, in a format of blocks: exactly the values that `readFloat32` gives. */
export interface StoredBlocks {
  readonly format: BlockFormat;
  /**
   * Some of the rows; without a range, all of them. Rejects as `readFloat32` does. The result may be overwritten.
   * @param scratch for reading many blocks: the result may lie in it.
   */
  read(range?: RowRange, scratch?: ReadScratch): Promise<Uint8Array<ArrayBuffer>>;
}

/** A tensor of a checkpoint: where it lies, and how its values are read, whatever the format of the files. */
export interface StoredTensor {
  /** Name of its type in the format of the file: BF16, F8_E4M3, Q4_K. */
  readonly dtype: string;
  /** Row-major; [] is a scalar. */
  readonly shape: readonly number[];
  /** Name of the file inside the folder. */
  readonly file: string;
  /** Bytes that it takes in the file. */
  readonly byteLength: number;
  /** Whether going back in the file costs reading it from the start again. */
  readonly isSequential: boolean;
  /** Why its values can't be read; undefined: they can. */
  readonly problem: Mamba2Error | undefined;
  /**
   * The tensor, or some of its rows, as float32 in row-major order. Rejects with `problem`, if there is one, and with
   * ArgumentError when the rows are not in the tensor.
   * @param scratch for reading many blocks: the result may lie in it.
   */
  readFloat32(range?: RowRange, scratch?: ReadScratch): Promise<Float32Array>;
  /**
   * The tensor, or some of its rows, as it is stored. Rejects with ArgumentError when the rows are not in the tensor.
   * @param scratch for reading many blocks: the result may lie in it.
   */
  readBytes(range?: RowRange, scratch?: ReadScratch): Promise<Uint8Array<ArrayBuffer>>;
  /** The tensor in a format of blocks, which backends may keep. Absent: no format has exactly its values. */
  readonly blocks?: StoredBlocks | undefined;
  /** Drops what reads have kept for the next ones. Absent: they keep nothing. */
  release?(): void;
}

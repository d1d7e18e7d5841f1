/**
 * A type of tensors: values lie in blocks, whose layout and meaning the type defines. Rows are whole blocks.
 *
 * Layouts: the structs `block_*` of llama.cpp's ggml/src/ggml-common.h.
 */
export interface TensorType {
  /** llama.cpp's name of it. */
  readonly name: string;
  /** Values of a block. */
  readonly blockValues: number;
  /** Bytes of a block. */
  readonly blockBytes: number;
  /** Absent: such tensors have a place in a file, but are not read. */
  readonly dequantize?: Dequantize;
}

/**
 * Values of whole blocks, in the arithmetic of ggml's `dequantize_row_*`, so that they have the same bits.
 * @param bytes of `blocks` blocks; they begin their buffer.
 * @param out takes `blocks * blockValues` values.
 */
export type Dequantize = (bytes: Uint8Array<ArrayBuffer>, blocks: number, out: Float32Array) => void;

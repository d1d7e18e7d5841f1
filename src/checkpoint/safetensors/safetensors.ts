import { MissingTensorError, WeightDTypeError } from '../../errors.ts';
import { bfloat16ToFloat32, float16ToFloat32 } from '../../tensor/float16.ts';
import type { ByteSource } from '../files/byte-source.ts';
import type { ReadScratch } from '../files/read-scratch.ts';
import { bytesOfRows, type RowRange } from '../files/row-range.ts';
import {
  failIn,
  LENGTH_BYTES,
  MAX_HEADER_BYTES,
  parseSafetensorsHeader,
  type SafetensorsDType,
  type SafetensorsHeader,
  type TensorInfo,
} from './safetensors-header.ts';

export type { SafetensorsDType, TensorInfo } from './safetensors-header.ts';

/** Reads bytes that begin their buffer. The result may lie where they do, or in what `floats` gives. */
type ToFloat32 = (bytes: Uint8Array<ArrayBuffer>, floats: (count: number) => Float32Array) => Float32Array;

/** The dtypes that can be read as floating point, and how. Host byte order is little-endian, as in the format. */
const TO_FLOAT32: Readonly<Record<string, ToFloat32>> = {
  F32: ({ buffer, length }) => new Float32Array(buffer, 0, length / 4),
  BF16: ({ buffer, length }, floats) => bfloat16ToFloat32(new Uint16Array(buffer, 0, length / 2), floats(length / 2)),
  F16: ({ buffer, length }, floats) => float16ToFloat32(new Uint16Array(buffer, 0, length / 2), floats(length / 2)),
  F64: ({ buffer, length }, floats) => {
    const out = floats(length / 8);
    out.set(new Float64Array(buffer, 0, length / 8));
    return out;
  },
};

/** Whether tensors of this dtype can be read. */
export function isFloatDType(dtype: SafetensorsDType): boolean {
  return Object.hasOwn(TO_FLOAT32, dtype);
}

/** The error for a tensor that can't. */
export function unreadableDType(fileName: string, tensor: string, dtype: SafetensorsDType): WeightDTypeError {
  return new WeightDTypeError(
    `${fileName}: tensor '${tensor}' is stored as ${dtype}, expected one of ${Object.keys(TO_FLOAT32).join(', ')}.`,
    'Use the unquantized repository, or convert the checkpoint to one of these dtypes.',
  );
}

/**
 * One safetensors file: its header in memory, its tensors read on request.
 *
 * @example
 * ```ts
 * const file = await SafetensorsFile.open(source);
 * for (const [name, { dtype, shape }] of file.tensors) console.log(name, dtype, shape);
 * const firstRows = await file.readFloat32('weight', { rows: 8 });
 * await file.close();
 * ```
 */
export class SafetensorsFile {
  readonly name: string;
  /** Tensors by name, in the order of their data. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly #source: ByteSource;
  readonly #dataStart: number;

  private constructor(source: ByteSource, header: SafetensorsHeader, dataStart: number) {
    this.name = source.name;
    this.tensors = header.tensors;
    this.metadata = header.metadata;
    this.#source = source;
    this.#dataStart = dataStart;
  }

  /** Reads and checks the header; the data is left alone. Rejects with SafetensorsError on a malformed file. */
  static async open(source: ByteSource): Promise<SafetensorsFile> {
    const fail = failIn(source.name);
    if (source.size < LENGTH_BYTES)
      fail(`the file has ${source.size} bytes, fewer than the ${LENGTH_BYTES} of a length.`);
    const lengthBytes = await source.read(0, LENGTH_BYTES);
    const headerBytes = Number(new DataView(lengthBytes.buffer).getBigUint64(0, true));
    if (headerBytes > MAX_HEADER_BYTES) {
      fail(`the header claims ${headerBytes} bytes, more than the ${MAX_HEADER_BYTES} of the format.`);
    }
    const dataStart = LENGTH_BYTES + headerBytes;
    if (dataStart > source.size) {
      fail(`the header claims ${headerBytes} bytes, but only ${source.size - LENGTH_BYTES} follow.`);
    }
    const bytes = await source.read(LENGTH_BYTES, headerBytes);
    const header = parseSafetensorsHeader(bytes, source.size - dataStart, source.name);
    return new SafetensorsFile(source, header, dataStart);
  }

  /**
   * A tensor, or some of its rows, as float32 in row-major order. Only the bytes of those rows are read.
   * Rejects with MissingTensorError, with WeightDTypeError when the dtype is no floating point of 16 bits or more,
   * and with ArgumentError when the rows are not in the tensor.
   * @param scratch for reading many blocks: the result may lie in it.
   */
  async readFloat32(name: string, range: RowRange = {}, scratch?: ReadScratch): Promise<Float32Array> {
    const { dtype } = this.#tensor(name);
    if (!isFloatDType(dtype)) throw unreadableDType(this.name, name, dtype);
    const bytes = await this.readBytes(name, range, scratch?.bytes);
    return TO_FLOAT32[dtype](bytes, (count) => scratch?.floats(count) ?? new Float32Array(count));
  }

  /**
   * The bytes of a tensor, or of some of its rows, as they are stored. Rejects with MissingTensorError, and with
   * ArgumentError when the rows are not in the tensor.
   * @param scratch for reading many blocks: the result may lie in it.
   */
  async readBytes(name: string, range: RowRange = {}, scratch?: ArrayBuffer): Promise<Uint8Array<ArrayBuffer>> {
    const { offset, length } = bytesOfRows(this.#tensor(name), range);
    return this.#source.read(this.#dataStart + offset, length, scratch);
  }

  /** Whether going back in the file costs reading it from the start again. */
  get isSequential(): boolean {
    return this.#source.isSequential ?? false;
  }

  /** Releases the source. Reads reject afterwards. */
  async close(): Promise<void> {
    await this.#source.close();
  }

  #tensor(name: string): TensorInfo {
    const tensor = this.tensors.get(name);
    if (tensor === undefined) throw new MissingTensorError(`${this.name} has no tensor '${name}'.`);
    return tensor;
  }
}

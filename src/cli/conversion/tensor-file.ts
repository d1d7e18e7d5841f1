import type { FileHandle } from 'node:fs/promises';
import { LENGTH_BYTES } from '../../checkpoint/safetensors/safetensors-header.ts';
import { elementCount } from '../../tensor/tensor.ts';

const SIZES = { I64: 8, F32: 4, I32: 4, BF16: 2, F16: 2 } as const;

/** A tensor of a file to be written. */
export interface PlannedTensor {
  readonly name: string;
  readonly dtype: keyof typeof SIZES;
  readonly shape: readonly number[];
}

/**
 * A safetensors file whose tensors are known before their values are, so that these need not be in memory together. Tensors
 * lie by the size of their values, the largest first, as the reference implementation aligns them.
 */
export class TensorFile {
  readonly byteLength: number;
  readonly #file: FileHandle;
  readonly #positions = new Map<string, number>();
  readonly #head: Uint8Array;

  constructor(file: FileHandle, tensors: readonly PlannedTensor[]) {
    this.#file = file;
    const sorted = tensors.toSorted((a, b) => SIZES[b.dtype] - SIZES[a.dtype]);
    const offsets: number[] = [];
    let end = 0;
    // Written entry by entry: a name such as '12' would change its place in a plain object.
    const entries = ['"__metadata__":{"format":"pt"}'];
    for (const { name, dtype, shape } of sorted) {
      const begin = end;
      end += SIZES[dtype] * elementCount(shape);
      offsets.push(begin);
      entries.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [begin, end] })}`);
    }
    const json = new TextEncoder().encode(`{${entries.join(',')}}`);
    const headerBytes = Math.ceil(json.length / 8) * 8;
    this.#head = new Uint8Array(LENGTH_BYTES + headerBytes).fill(0x20, LENGTH_BYTES);
    new DataView(this.#head.buffer).setBigUint64(0, BigInt(headerBytes), true);
    this.#head.set(json, LENGTH_BYTES);
    for (const [i, { name }] of sorted.entries()) this.#positions.set(name, this.#head.length + offsets[i]);
    this.byteLength = this.#head.length + end;
  }

  async writeHeader(): Promise<void> {
    await this.#write(this.#head, 0);
  }

  /** Appends to what was written of a tensor. */
  async append(name: string, bytes: Uint8Array): Promise<void> {
    const position = this.#positions.get(name) ?? this.byteLength;
    await this.#write(bytes, position);
    this.#positions.set(name, position + bytes.length);
  }

  async #write(bytes: Uint8Array, position: number): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      done += (await this.#file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
    }
  }
}

import { ArgumentError } from '../../errors.ts';
import type { WeightDType } from '../../tensor/dtype.ts';
import type { LinearWeight, LinearWeightWriter } from '../backend.ts';
import { checkWeightRows } from '../shape-check.ts';
import type { GpuDevice } from './gpu-device.ts';
import type { GpuMemory } from './gpu-memory.ts';
import { Storage } from './gpu-tensor.ts';
import { packRow, rowWords } from './pack-weights.ts';

/** A matrix on the device, row after row as {@link packRow} lays them out, in as many parts as bindings make it. */
export class GpuLinearWeight implements LinearWeight {
  readonly owner: object;
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly dtype: WeightDType;
  /** u32 words from row to row. */
  readonly rowWords: number;
  readonly parts: readonly WeightPart[];

  constructor(
    owner: object,
    outFeatures: number,
    inFeatures: number,
    dtype: WeightDType,
    parts: readonly WeightPart[],
  ) {
    this.owner = owner;
    this.outFeatures = outFeatures;
    this.inFeatures = inFeatures;
    this.dtype = dtype;
    this.rowWords = rowWords(inFeatures, dtype);
    this.parts = parts;
  }
}

/** Some rows of a matrix in one buffer. */
export interface WeightPart {
  readonly firstRow: number;
  readonly rows: number;
  readonly storage: Storage;
}

/** Packs rows as they come and sends them to the device at once. */
export class GpuWeightWriter implements LinearWeightWriter {
  readonly #device: GpuDevice;
  readonly #weight: GpuLinearWeight;

  constructor(
    owner: object,
    device: GpuDevice,
    memory: GpuMemory,
    outFeatures: number,
    inFeatures: number,
    dtype: WeightDType,
  ) {
    this.#device = device;
    const bytesPerRow = Math.max(4, 4 * rowWords(inFeatures, dtype));
    const { maxBufferSize, maxStorageBufferBindingSize } = device.limits;
    const rowsPerPart = Math.floor(Math.min(maxBufferSize, maxStorageBufferBindingSize) / bytesPerRow);
    if (rowsPerPart === 0) {
      throw new ArgumentError(
        `A row of ${inFeatures} weights takes ${bytesPerRow} bytes, more than the GPU can bind.`,
        "Use the device 'cpu'.",
      );
    }
    const parts: WeightPart[] = [];
    for (let firstRow = 0; firstRow < outFeatures; firstRow += rowsPerPart) {
      const rows = Math.min(rowsPerPart, outFeatures - firstRow);
      const bytes = rows * bytesPerRow;
      parts.push({ firstRow, rows, storage: new Storage(owner, bytes, memory.allocate(bytes)) });
    }
    this.#weight = new GpuLinearWeight(owner, outFeatures, inFeatures, dtype, parts);
  }

  writeRows(firstRow: number, values: Float32Array): void {
    const weight = this.#weight;
    checkWeightRows(values.length, firstRow, weight);
    this.#device.assertUsable();
    const { inFeatures, dtype, rowWords: words } = weight;
    const count = inFeatures === 0 ? 0 : values.length / inFeatures;
    const packed = new Uint32Array(count * words);
    for (let r = 0; r < count; r++) {
      packRow(
        values.subarray(r * inFeatures, (r + 1) * inFeatures),
        dtype,
        packed.subarray(r * words, (r + 1) * words),
      );
    }
    for (const part of weight.parts) {
      const begin = Math.max(firstRow, part.firstRow);
      const end = Math.min(firstRow + count, part.firstRow + part.rows);
      if (begin >= end || !part.storage.buffer) continue;
      this.#device.device.queue.writeBuffer(
        part.storage.buffer.gpu,
        4 * (begin - part.firstRow) * words,
        packed,
        (begin - firstRow) * words,
        (end - begin) * words,
      );
    }
  }

  finish(): LinearWeight {
    return this.#weight;
  }
}

/** The device's form of a weight that this backend made. */
export function gpuWeight(owner: object, weight: LinearWeight): GpuLinearWeight {
  if (weight instanceof GpuLinearWeight && weight.owner === owner) return weight;
  throw new ArgumentError('The weight belongs to another backend.', 'Make it with linearWeight of this backend.');
}

import { ArgumentError } from '../../../errors.ts';
import type { WeightDType } from '../../../tensor/dtype.ts';
import { checkWeightRows, type LinearWeight, type LinearWeightWriter } from '../../contract/linear.ts';
import type { GpuDevice } from '../device/gpu-device.ts';
import type { GpuMemory } from '../device/gpu-memory.ts';
import { Storage } from '../device/gpu-tensor.ts';
import { packRow, rowWords } from './pack-weights.ts';
import { TILE_SIDE, WeightTiles } from './weight-tiles.ts';

/** A matrix on the device, row after row as {@link packRow} lays them out, in as many parts as bindings make it. */
export class GpuLinearWeight implements LinearWeight {
  readonly owner: object;
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly dtype: WeightDType;
  /** `tiles`: tiles of 16 rows and 16 inputs, in the order in which subgroup matrices are read fastest. */
  readonly layout: 'rows' | 'tiles';
  /** u32 words in a row. */
  readonly rowWords: number;
  readonly parts: readonly WeightPart[];

  constructor(
    owner: object,
    outFeatures: number,
    inFeatures: number,
    dtype: WeightDType,
    parts: readonly WeightPart[],
    layout: 'rows' | 'tiles' = 'rows',
  ) {
    this.owner = owner;
    this.outFeatures = outFeatures;
    this.inFeatures = inFeatures;
    this.dtype = dtype;
    this.layout = layout;
    this.rowWords = rowWords(inFeatures, dtype);
    this.parts = parts;
  }

  /** The name of this layout in shaders that read single weights. */
  get format(): WeightFormat {
    return this.layout === 'tiles' ? 'float16-tiles' : this.dtype;
  }
}

/** Format of a row of weights in memory. */
export type WeightFormat = WeightDType | 'float16-tiles';

/** Some rows of a matrix in one buffer. */
export interface WeightPart {
  readonly firstRow: number;
  readonly rows: number;
  readonly storage: Storage;
}

/** Packs rows as they come and sends them to the device immediately. */
export class GpuWeightWriter implements LinearWeightWriter {
  readonly #device: GpuDevice;
  readonly #weight: GpuLinearWeight;
  readonly #tiles: WeightTiles | undefined;

  constructor(
    owner: object,
    device: GpuDevice,
    memory: GpuMemory,
    outFeatures: number,
    inFeatures: number,
    dtype: WeightDType,
  ) {
    this.#device = device;
    const words = rowWords(inFeatures, dtype);
    const inTiles = device.hasMatrices && dtype === 'float16' && inFeatures > 0 && inFeatures % TILE_SIDE === 0;
    const bytesPerRow = Math.max(4, 4 * words);
    const { maxBufferSize, maxStorageBufferBindingSize } = device.limits;
    const side = inTiles ? TILE_SIDE : 1;
    const rowsPerPart = side * Math.floor(Math.min(maxBufferSize, maxStorageBufferBindingSize) / bytesPerRow / side);
    if (rowsPerPart === 0) {
      throw new ArgumentError(
        `A row of ${inFeatures} weights takes ${bytesPerRow} bytes, more than the GPU can bind.`,
        "Use the device 'cpu'.",
      );
    }
    const parts: WeightPart[] = [];
    for (let firstRow = 0; firstRow < outFeatures; firstRow += rowsPerPart) {
      const rows = Math.min(rowsPerPart, outFeatures - firstRow);
      const bytes = side * Math.ceil(rows / side) * bytesPerRow;
      parts.push({ firstRow, rows, storage: new Storage(owner, bytes, memory.allocate(bytes)) });
    }
    const layout = inTiles ? 'tiles' : 'rows';
    this.#weight = new GpuLinearWeight(owner, outFeatures, inFeatures, dtype, parts, layout);
    this.#tiles = inTiles ? new WeightTiles(words, (firstRow, panel) => this.#send(firstRow, panel)) : undefined;
  }

  writeRows(firstRow: number, values: Float32Array): void {
    const weight = this.#weight;
    checkWeightRows(values.length, firstRow, weight);
    this.#device.assertUsable();
    const { inFeatures, dtype, rowWords: words } = weight;
    const count = inFeatures === 0 ? 0 : values.length / inFeatures;
    const packed = new Uint32Array(count * words);
    for (let r = 0; r < count; r++) {
      const row = packed.subarray(r * words, (r + 1) * words);
      packRow(values.subarray(r * inFeatures, (r + 1) * inFeatures), dtype, row);
      this.#tiles?.put(firstRow + r, row);
    }
    if (!this.#tiles) this.#send(firstRow, packed);
  }

  finish(): LinearWeight {
    this.#tiles?.finish();
    return this.#weight;
  }

  /** Whole rows, or whole panels of 16, from `firstRow` on. */
  #send(firstRow: number, packed: Uint32Array): void {
    const words = this.#weight.rowWords;
    const count = packed.length / words;
    for (const { firstRow: partBegin, rows, storage } of this.#weight.parts) {
      const begin = Math.max(firstRow, partBegin);
      const end = Math.min(
        firstRow + count,
        partBegin + (this.#tiles ? Math.ceil(rows / TILE_SIDE) * TILE_SIDE : rows),
      );
      if (begin >= end || !storage.buffer) continue;
      this.#device.device.queue.writeBuffer(
        storage.buffer.gpu,
        4 * (begin - partBegin) * words,
        packed as Uint32Array<ArrayBuffer>,
        (begin - firstRow) * words,
        (end - begin) * words,
      );
    }
  }
}

/** The device's form of a weight that this backend made. */
export function gpuWeight(owner: object, weight: LinearWeight): GpuLinearWeight {
  if (weight instanceof GpuLinearWeight && weight.owner === owner) return weight;
  throw new ArgumentError('The weight belongs to another backend.', 'Make it with linearWeight of this backend.');
}

import { ArgumentError } from '../../../errors.ts';
import type { BlockFormat, MatrixDType } from '../../../tensor/block-formats.ts';
import type { WeightDType } from '../../../tensor/dtype.ts';
import {
  type BlockWeightWriter,
  checkBlockColumns,
  checkBlockRows,
  checkWeightRows,
  type LinearWeight,
  type LinearWeightWriter,
} from '../../contract/linear.ts';
import type { GpuDevice } from '../device/gpu-device.ts';
import type { GpuMemory } from '../device/gpu-memory.ts';
import { Storage } from '../device/gpu-tensor.ts';
import { GpuLinearWeight, type WeightPart } from './linear-weight.ts';
import { packBlocks } from './pack-blocks.ts';
import { packRow, rowWords } from './pack-weights.ts';
import { TILE_SIDE, WeightTiles } from './weight-tiles.ts';

/** What a writer needs of its backend. */
export interface WeightPlace {
  readonly owner: object;
  readonly device: GpuDevice;
  readonly memory: GpuMemory;
}

/** Packs rows as they come and sends them to the device immediately. */
export class GpuWeightWriter implements LinearWeightWriter {
  readonly #device: GpuDevice;
  readonly #weight: GpuLinearWeight;
  readonly #dtype: WeightDType;
  readonly #tiles: WeightTiles | undefined;

  constructor(place: WeightPlace, outFeatures: number, inFeatures: number, dtype: WeightDType) {
    this.#device = place.device;
    this.#dtype = dtype;
    this.#weight = emptyWeight(place, outFeatures, inFeatures, dtype);
    const { layout, rowWords: words } = this.#weight;
    const sendPanel = (firstRow: number, panel: Uint32Array) => send(this.#device, this.#weight, firstRow, panel);
    this.#tiles = layout === 'tiles' ? new WeightTiles(words, sendPanel) : undefined;
  }

  writeRows(firstRow: number, values: Float32Array): void {
    const weight = this.#weight;
    checkWeightRows(values.length, firstRow, weight);
    this.#device.assertUsable();
    const { inFeatures, rowWords: words } = weight;
    const count = inFeatures === 0 ? 0 : values.length / inFeatures;
    const packed = new Uint32Array(count * words);
    for (let r = 0; r < count; r++) {
      const row = packed.subarray(r * words, (r + 1) * words);
      packRow(values.subarray(r * inFeatures, (r + 1) * inFeatures), this.#dtype, row);
      this.#tiles?.put(firstRow + r, row);
    }
    if (!this.#tiles) send(this.#device, weight, firstRow, packed);
  }

  finish(): LinearWeight {
    this.#tiles?.finish();
    return this.#weight;
  }
}

/** Sends rows of blocks to the device as they come. */
export class GpuBlockWriter implements BlockWeightWriter {
  readonly #device: GpuDevice;
  readonly #weight: GpuLinearWeight;
  readonly #format: BlockFormat;

  /** @throws ShapeError when rows are no whole blocks. */
  constructor(place: WeightPlace, outFeatures: number, inFeatures: number, format: BlockFormat) {
    checkBlockColumns(inFeatures, format);
    this.#device = place.device;
    this.#format = format;
    this.#weight = emptyWeight(place, outFeatures, inFeatures, format);
  }

  writeBlocks(firstRow: number, blocks: Uint8Array): void {
    checkBlockRows(blocks.length, firstRow, this.#weight, this.#format);
    this.#device.assertUsable();
    send(this.#device, this.#weight, firstRow, packBlocks(this.#format, this.#weight.inFeatures, blocks));
  }

  finish(): LinearWeight {
    return this.#weight;
  }
}

/** A matrix of zeros. */
function emptyWeight(
  { owner, device, memory }: WeightPlace,
  outFeatures: number,
  inFeatures: number,
  dtype: MatrixDType,
): GpuLinearWeight {
  const inTiles = device.hasMatrices && dtype === 'float16' && inFeatures > 0 && inFeatures % TILE_SIDE === 0;
  const bytesPerRow = Math.max(4, 4 * rowWords(inFeatures, dtype));
  const { maxBufferSize, maxStorageBufferBindingSize } = device.limits;
  const side = inTiles ? TILE_SIDE : 1;
  // Buffers are whole vectors of 16 bytes.
  const most = 16 * Math.floor(Math.min(maxBufferSize, maxStorageBufferBindingSize) / 16);
  const rowsPerPart = side * Math.floor(most / bytesPerRow / side);
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
  return new GpuLinearWeight(owner, outFeatures, inFeatures, dtype, parts, inTiles ? 'tiles' : 'rows');
}

/** Sends packed rows, or whole panels of 16, from `firstRow` on. */
function send(
  { device }: GpuDevice,
  { rowWords: words, layout, parts }: GpuLinearWeight,
  firstRow: number,
  packed: Uint32Array | Uint8Array,
): void {
  const side = layout === 'tiles' ? TILE_SIDE : 1;
  // A row in elements of `packed`, in which writeBuffer counts.
  const size = (4 * words) / packed.BYTES_PER_ELEMENT;
  const count = packed.length / size;
  for (const { firstRow: partBegin, rows, storage } of parts) {
    const begin = Math.max(firstRow, partBegin);
    const end = Math.min(firstRow + count, partBegin + side * Math.ceil(rows / side));
    if (begin >= end || !storage.buffer) continue;
    device.queue.writeBuffer(
      storage.buffer.gpu,
      4 * (begin - partBegin) * words,
      packed as Uint32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>,
      (begin - firstRow) * size,
      (end - begin) * size,
    );
  }
}

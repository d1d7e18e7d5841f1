import { ArgumentError } from '../../../errors.ts';
import {
  BLOCK_FORMATS,
  type BlockFormat,
  blockRowBytes,
  isBlockFormat,
  type MatrixDType,
} from '../../../tensor/block-formats.ts';
import type { WeightDType } from '../../../tensor/dtype.ts';
import { INT4_PART, QUANT_BLOCK, quantizeInt4Parts, quantizeInt8 } from '../../../tensor/quantize.ts';
import {
  type BlockWeightWriter,
  checkBlockColumns,
  checkBlockRows,
  checkWeightRows,
  type LinearWeight,
  type LinearWeightWriter,
} from '../../contract/linear.ts';
import { type CudaCalls, elementGrid } from './cuda-calls.ts';

/** Storages that kernels read: those of the dtypes that are no blocks, and blocks. int8 and int4 are blocks, too. */
export type StoredFormat = 'FLOAT32' | 'FLOAT16' | 'BFLOAT16' | BlockFormat;

/** Formats of 16 bits, which tensor cores take. */
export type HalvesFormat = 'FLOAT16' | 'BFLOAT16';

export function isHalves(format: StoredFormat): format is HalvesFormat {
  return format === 'FLOAT16' || format === 'BFLOAT16';
}

/** The format whose products are on the ordinary units, in float32. */
export type FloatsFormat = 'FLOAT32';

export function isFloats(format: StoredFormat): format is FloatsFormat {
  return format === 'FLOAT32';
}

/** Formats of blocks whose codes tensor cores multiply. */
export type CodesFormat = Exclude<StoredFormat, HalvesFormat | FloatsFormat>;

/** Formats whose products are on tensor cores. */
export type PartsFormat = HalvesFormat | CodesFormat;

/** Whether a format's values are less than scaled codes, by what the sums of 32 inputs are multiplied by. */
export function hasZeros(format: StoredFormat): boolean {
  return format === 'Q4_K' || format === 'Q5_K';
}

/** Whether a format's scales are of 16 inputs. Kernels for many rows, whose steps have one scale, find 16 of them spread over 32 places. */
export function isSpread(format: StoredFormat): boolean {
  return format === 'Q6_K';
}

const STORED = {
  float32: 'FLOAT32',
  float16: 'FLOAT16',
  bfloat16: 'BFLOAT16',
  int8: 'INT8_G128',
  int4: 'INT4_G32',
} as const satisfies Readonly<Record<WeightDType, StoredFormat>>;

/** Numbers of kinds in rows.cu. */
export const PACKED_KINDS = { FLOAT32: 0, FLOAT16: 1, BFLOAT16: 2 } as const;

/** Bytes that are packed at a time. */
const STAGING_BYTES = 16 * 2 ** 20;
/** Rows of numbers are padded to a multiple of so many. */
const ROW_MULTIPLE = 8;
/** The zero point of int4's levels, -8 to 7, in INT4_G32, whose codes are 0 to 15. */
const INT4_ZERO = 8;

/** A weight matrix on the device: rows one after another, each in its format. */
export class CudaWeight implements LinearWeight {
  readonly owner: object;
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly dtype: MatrixDType;
  readonly format: StoredFormat;
  readonly address: number;
  readonly rowBytes: number;

  /** All zeros. */
  constructor(calls: CudaCalls, outFeatures: number, inFeatures: number, dtype: MatrixDType) {
    this.owner = calls.owner;
    this.outFeatures = outFeatures;
    this.inFeatures = inFeatures;
    this.dtype = dtype;
    this.format = storedFormat(dtype);
    this.rowBytes = storedRowBytes(dtype, inFeatures);
    this.address = calls.memory.allocateLasting(outFeatures * this.rowBytes);
    calls.clear(this.address, outFeatures * this.rowBytes);
  }
}

/** Bytes of a matrix on the device. */
export function storedBytes({ outFeatures, inFeatures, dtype }: LinearWeight): number {
  return outFeatures * storedRowBytes(dtype, inFeatures);
}

/** The weight as one of this backend. @throws ArgumentError */
export function cudaWeight(owner: object, weight: LinearWeight): CudaWeight {
  if (weight instanceof CudaWeight && weight.owner === owner) return weight;
  throw new ArgumentError('The weight belongs to another backend.', 'Make it with linearWeight of this backend.');
}

export function weightWriter(
  calls: CudaCalls,
  outFeatures: number,
  inFeatures: number,
  dtype: WeightDType,
): LinearWeightWriter {
  const weight = new CudaWeight(calls, outFeatures, inFeatures, dtype);
  return {
    writeRows: (firstRow, values) => {
      checkWeightRows(values.length, firstRow, weight);
      if (values.length === 0) return;
      if (dtype === 'int8' || dtype === 'int4') {
        calls.upload(weight.address + firstRow * weight.rowBytes, quantizedRows(values, inFeatures, dtype));
        return;
      }
      const atOnce = Math.max(1, Math.floor(STAGING_BYTES / (4 * inFeatures)));
      for (let row = 0; row < values.length / inFeatures; row += atOnce) {
        packRows(
          calls,
          weight,
          STORED[dtype],
          firstRow + row,
          values.subarray(row * inFeatures, (row + atOnce) * inFeatures),
        );
      }
    },
    finish: () => weight,
  };
}

export function blockWriter(
  calls: CudaCalls,
  outFeatures: number,
  inFeatures: number,
  format: BlockFormat,
): BlockWeightWriter {
  checkBlockColumns(inFeatures, format);
  const weight = new CudaWeight(calls, outFeatures, inFeatures, format);
  return {
    writeBlocks: (firstRow, blocks) => {
      checkBlockRows(blocks.length, firstRow, weight, format);
      calls.upload(weight.address + firstRow * weight.rowBytes, blocks);
    },
    finish: () => weight,
  };
}

/** Rounds rows on the device. */
function packRows(
  calls: CudaCalls,
  { address, rowBytes, inFeatures }: CudaWeight,
  format: keyof typeof PACKED_KINDS,
  firstRow: number,
  values: Float32Array,
): void {
  const rows = values.length / inFeatures;
  calls.memory.scope(() => {
    const staged = calls.memory.allocate(values.byteLength);
    calls.upload(staged, values);
    calls.device.launch('pack_rows', elementGrid(rows, inFeatures), {
      x: staged,
      out: address + firstRow * rowBytes,
      rowBytes,
      T: rows,
      K: inFeatures,
      kind: PACKED_KINDS[format],
    });
  });
}

function storedFormat(dtype: MatrixDType): StoredFormat {
  return isBlockFormat(dtype) ? dtype : STORED[dtype];
}

function storedRowBytes(dtype: MatrixDType, inFeatures: number): number {
  const format = storedFormat(dtype);
  if (!isBlockFormat(format))
    return Math.ceil(inFeatures / ROW_MULTIPLE) * ROW_MULTIPLE * (format === 'FLOAT32' ? 4 : 2);
  const { blockValues } = BLOCK_FORMATS[format];
  return blockRowBytes(format, Math.ceil(inFeatures / blockValues) * blockValues);
}

/** Rows as INT8_G128 or INT4_G32, which hold all values of int8 and int4; a row's last block is filled up with zeros. */
function quantizedRows(values: Float32Array, columns: number, dtype: 'int8' | 'int4'): Uint8Array {
  const rowBytes = storedRowBytes(dtype, columns);
  const bytes = new Uint8Array((values.length / columns) * rowBytes);
  const view = new DataView(bytes.buffer);
  const { blockBytes } = BLOCK_FORMATS[STORED[dtype]];
  const levels = new Int8Array(QUANT_BLOCK);
  const factors = new Uint8Array(QUANT_BLOCK / INT4_PART);
  for (let row = 0, rowAt = 0; row < values.length; row += columns, rowAt += rowBytes) {
    for (let begin = 0, at = rowAt; begin < columns; begin += QUANT_BLOCK, at += blockBytes) {
      const block = values.subarray(row + begin, row + Math.min(begin + QUANT_BLOCK, columns));
      levels.fill(0);
      if (dtype === 'int8') {
        view.setFloat32(at, quantizeInt8(block, levels), true);
        bytes.set(new Uint8Array(levels.buffer), at + 4);
        continue;
      }
      factors.fill(0);
      const scale = quantizeInt4Parts(block, levels, factors);
      for (const [part, factor] of factors.entries()) {
        // A product of 8 and 4 bits: the low byte of its float32 is 0.
        view.setFloat32(at + 4 * part, scale * factor, true);
        bytes[at + 4 * part] = INT4_ZERO;
        const codes = at + 4 * factors.length + 16 * part;
        for (let i = 0; i < 16; i++) {
          const [low, high] = [levels[INT4_PART * part + i], levels[INT4_PART * part + 16 + i]];
          bytes[codes + i] = (low + INT4_ZERO) | ((high + INT4_ZERO) << 4);
        }
      }
    }
  }
  return bytes;
}

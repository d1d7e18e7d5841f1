import { ArgumentError } from '../../../errors.ts';
import { isBlockFormat, type MatrixDType } from '../../../tensor/block-formats.ts';
import type { LinearWeight } from '../../contract/linear.ts';
import type { Storage } from '../device/gpu-tensor.ts';
import { rowWords } from './pack-weights.ts';

/**
 * A matrix on the device, row after row as `packRow` or `packBlocks` lays them out, in as many parts as bindings make it.
 */
export class GpuLinearWeight implements LinearWeight {
  readonly owner: object;
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly dtype: MatrixDType;
  /** `tiles`: tiles of 16 rows and 16 inputs, in the order in which subgroup matrices are read fastest. */
  readonly layout: 'rows' | 'tiles';
  /** u32 words in a row. */
  readonly rowWords: number;
  readonly parts: readonly WeightPart[];

  constructor(
    owner: object,
    outFeatures: number,
    inFeatures: number,
    dtype: MatrixDType,
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
export type WeightFormat = MatrixDType | 'float16-tiles';

/** Some rows of a matrix in one buffer. */
export interface WeightPart {
  readonly firstRow: number;
  readonly rows: number;
  readonly storage: Storage;
}

/** The device's form of a weight that this backend made. */
export function gpuWeight(owner: object, weight: LinearWeight): GpuLinearWeight {
  if (weight instanceof GpuLinearWeight && weight.owner === owner) return weight;
  throw new ArgumentError('The weight belongs to another backend.', 'Make it with linearWeight of this backend.');
}

/** Constants of kernels that read single weights. Only those for blocks are made for one number of inputs. */
export function singleWeightConstants({ dtype, format, inFeatures, rowWords }: GpuLinearWeight) {
  const BLOCKS = isBlockFormat(dtype);
  return { BLOCKS, DTYPE: format, TILES: false, K: BLOCKS ? inFeatures : 0, ROW_WORDS: BLOCKS ? rowWords : 0 };
}

import { ArgumentError } from '../../../errors.ts';
import type { BlockFormat, MatrixDType } from '../../../tensor/block-formats.ts';
import {
  type BlockWeightWriter,
  checkBlockRows,
  checkWeightRows,
  type LinearWeight,
  type LinearWeightWriter,
} from '../../contract/linear.ts';
import { GpuLinearWeight, gpuWeight, type WeightPart } from './linear-weight.ts';

/** Shape of one expert's matrix. */
type ExpertShape = Pick<LinearWeight, 'outFeatures' | 'inFeatures'>;

/** An expert's matrix that lies in one buffer with those of the others, so that one dispatch computes with all. */
export class GpuExpertWeight implements LinearWeight {
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly dtype: MatrixDType;
  readonly #stack: () => GpuLinearWeight | undefined;

  constructor(shape: ExpertShape, dtype: MatrixDType, stack: () => GpuLinearWeight | undefined) {
    this.outFeatures = shape.outFeatures;
    this.inFeatures = shape.inFeatures;
    this.dtype = dtype;
    this.#stack = stack;
  }

  /** All experts' rows, one expert after another. @throws ArgumentError while some are missing. */
  get stack(): GpuLinearWeight {
    const stack = this.#stack();
    if (stack) return stack;
    throw new ArgumentError('An expert is used before all have their weights.', 'Finish all writers first.');
  }
}

/** Writers of `count` matrices (outFeatures, inFeatures), whose rows `writer` takes one after another. */
export function expertWriters(
  writer: LinearWeightWriter,
  count: number,
  shape: ExpertShape,
  dtype: MatrixDType,
): LinearWeightWriter[] {
  return finishers(writer, count, shape, dtype).map((finish, e) => ({
    writeRows: (firstRow, values) => {
      checkWeightRows(values.length, firstRow, shape);
      writer.writeRows(e * shape.outFeatures + firstRow, values);
    },
    finish,
  }));
}

/** {@link expertWriters} of blocks. */
export function expertBlockWriters(
  writer: BlockWeightWriter,
  count: number,
  shape: ExpertShape,
  format: BlockFormat,
): BlockWeightWriter[] {
  return finishers(writer, count, shape, format).map((finish, e) => ({
    writeBlocks: (firstRow, blocks) => {
      checkBlockRows(blocks.length, firstRow, shape, format);
      writer.writeBlocks(e * shape.outFeatures + firstRow, blocks);
    },
    finish,
  }));
}

/** Functions that end each expert's part of the stack. The last one called ends the stack. */
function finishers(
  writer: { finish(): LinearWeight },
  count: number,
  shape: ExpertShape,
  dtype: MatrixDType,
): (() => GpuExpertWeight)[] {
  let open = count;
  let stack: LinearWeight | undefined;
  const stacked = () => (stack instanceof GpuLinearWeight ? stack : undefined);
  return Array.from({ length: count }, () => {
    const weight = new GpuExpertWeight(shape, dtype, stacked);
    return () => {
      open--;
      if (open === 0) stack = writer.finish();
      return weight;
    };
  });
}

/** Some rows of all experts' matrices in one buffer. */
export interface ExpertPart extends WeightPart {
  /** The matrix that says how they are stored. */
  readonly weight: GpuLinearWeight;
}

/** All experts' matrices of one kind as one, one expert after another. */
export interface ExpertMatrix {
  /** Outputs of one expert. */
  readonly outFeatures: number;
  readonly inFeatures: number;
  /** One, if they were written together and a binding holds them; at most one for each expert and binding. */
  readonly parts: readonly ExpertPart[];
}

/** @throws ArgumentError when they are another backend's. */
export function expertMatrix(owner: object, weights: readonly LinearWeight[]): ExpertMatrix {
  const [first] = weights;
  const { outFeatures, inFeatures } = first;
  if (first instanceof GpuExpertWeight) {
    const { stack } = first;
    const isWhole = weights.every((weight) => weight instanceof GpuExpertWeight && weight.stack === stack);
    if (stack.owner !== owner || !isWhole || stack.outFeatures !== weights.length * outFeatures) {
      throw new ArgumentError(
        'The experts were not written together.',
        'Pass all of expertWeightWriters, in their order.',
      );
    }
    return { outFeatures, inFeatures, parts: stack.parts.map((part) => ({ ...part, weight: stack })) };
  }
  const parts = weights.flatMap((each, e) => {
    const weight = gpuWeight(owner, each);
    return weight.parts.map((part) => ({ ...part, weight, firstRow: e * outFeatures + part.firstRow }));
  });
  return { outFeatures, inFeatures, parts };
}

import { ArgumentError } from '../../../errors.ts';
import { valueDType } from '../../../tensor/block-formats.ts';
import type { WeightDType } from '../../../tensor/dtype.ts';
import { checkWeightRows, type LinearWeight, type LinearWeightWriter } from '../../contract/linear.ts';
import { GpuLinearWeight, gpuWeight, type WeightFormat, type WeightPart } from './linear-weight.ts';

/** An expert's matrix that lies in one buffer with those of the others, so that one dispatch computes with all. */
export class GpuExpertWeight implements LinearWeight {
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly dtype: WeightDType;
  readonly #stack: () => GpuLinearWeight | undefined;

  constructor(
    shape: Pick<LinearWeight, 'outFeatures' | 'inFeatures' | 'dtype'>,
    stack: () => GpuLinearWeight | undefined,
  ) {
    this.outFeatures = shape.outFeatures;
    this.inFeatures = shape.inFeatures;
    this.dtype = valueDType(shape.dtype);
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
  shape: Pick<LinearWeight, 'outFeatures' | 'inFeatures' | 'dtype'>,
): LinearWeightWriter[] {
  let open = count;
  let stack: LinearWeight | undefined;
  const weights = Array.from({ length: count }, () => {
    return new GpuExpertWeight(shape, () => (stack instanceof GpuLinearWeight ? stack : undefined));
  });
  return weights.map((weight, e) => ({
    writeRows: (firstRow, values) => {
      checkWeightRows(values.length, firstRow, shape);
      writer.writeRows(e * shape.outFeatures + firstRow, values);
    },
    finish: () => {
      open--;
      if (open === 0) stack = writer.finish();
      return weight;
    },
  }));
}

/** All experts' matrices of one kind as one, one expert after another. */
export interface ExpertMatrix {
  /** Outputs of one expert. */
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly dtype: WeightDType;
  readonly layout: GpuLinearWeight['layout'];
  readonly format: WeightFormat;
  readonly rowWords: number;
  /** One, if they were written together and a binding holds them; at most one for each expert and binding. */
  readonly parts: readonly WeightPart[];
}

/** @throws ArgumentError when they are another backend's. */
export function expertMatrix(owner: object, weights: readonly LinearWeight[]): ExpertMatrix {
  const [first] = weights;
  if (first instanceof GpuExpertWeight) {
    const { layout, format, rowWords, parts, owner: theirs } = first.stack;
    const isWhole = weights.every((weight) => weight instanceof GpuExpertWeight && weight.stack === first.stack);
    if (theirs !== owner || !isWhole || first.stack.outFeatures !== weights.length * first.outFeatures) {
      throw new ArgumentError(
        'The experts were not written together.',
        'Pass all of expertWeightWriters, in their order.',
      );
    }
    const { outFeatures, inFeatures, dtype } = first;
    return { outFeatures, inFeatures, dtype, layout, format, rowWords, parts };
  }
  const all = weights.map((weight) => gpuWeight(owner, weight));
  const [{ outFeatures, inFeatures, dtype, layout, format, rowWords }] = all;
  const parts = all.flatMap((weight, e) =>
    weight.parts.map((part) => ({ ...part, firstRow: e * outFeatures + part.firstRow })),
  );
  return { outFeatures, inFeatures, dtype, layout, format, rowWords, parts };
}

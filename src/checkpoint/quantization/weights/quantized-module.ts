import { ConfigError, MissingTensorError, WeightDTypeError, WeightShapeError } from '../../../errors.ts';
import { elementCount, formatShape } from '../../../tensor/tensor.ts';
import type { StoredTensor } from '../../files/stored-tensor.ts';
import { reshaped } from '../../files/tensor-views.ts';
import { type FactorValues, type GlobalFactor, isFloat, scaleValues, TensorFactors } from '../decode/factors.ts';
import type { MatrixReader } from '../decode/matrix-reader.ts';
import { ScaledMatrix, type ScaledParts } from '../decode/scaled-matrix.ts';
import { type BlockReader, blockRows } from './block-rows.ts';
import { QuantizedTensor } from './quantized-tensor.ts';
import type { WeightLayout } from './weight-layout.ts';

/** Where a method keeps the codes of a weight. */
export interface CodesPlace {
  /** Name of the layer that the weight belongs to. */
  readonly prefix: string;
  /** Name of the weight in a model without quantisation. */
  readonly weight: string;
}

export interface NamedTensor {
  readonly name: string;
  readonly tensor: StoredTensor;
}

/** Rows and columns that share a scale; Infinity: all of them. */
export type Coverage = Pick<WeightLayout, 'rowsPerScale' | 'columnsPerScale'>;

export const PER_TENSOR: Coverage = { rowsPerScale: Infinity, columnsPerScale: Infinity };
export const PER_CHANNEL: Coverage = { rowsPerScale: 1, columnsPerScale: Infinity };

/** Scales of groups of columns. */
export function perGroup(columnsPerScale: number): Coverage {
  return { rowsPerScale: 1, columnsPerScale };
}

const INCOMPLETE = 'The quantized weights are incomplete; download or quantize the model again.';
const MIXED_UP = 'The weights do not belong to this quantization config; download or quantize the model again.';

/** One quantised weight: its codes, and the tensors that belong to them. */
export class QuantizedModule implements CodesPlace {
  readonly prefix: string;
  readonly weight: string;
  readonly codes: StoredTensor;
  readonly codesName: string;
  readonly #tensors: ReadonlyMap<string, StoredTensor>;
  readonly #found = new Map<string, StoredTensor>();

  constructor(
    { prefix, weight }: CodesPlace,
    codes: NamedTensor,
    /** All tensors of the checkpoint. */
    tensors: ReadonlyMap<string, StoredTensor>,
  ) {
    this.prefix = prefix;
    this.weight = weight;
    this.codes = codes.tensor;
    this.codesName = codes.name;
    this.#tensors = tensors;
    this.#found.set(codes.name, codes.tensor);
  }

  /** Names of the tensors that the weight is made of, as far as the method has looked at them. */
  get usedNames(): Iterable<string> {
    return this.#found.keys();
  }

  /** A tensor of the layer. Stacks of experts have no `.weight` of their own: their companions' names go on with `_`. */
  find(suffix: string): NamedTensor | undefined {
    const own = `${this.prefix}.${suffix}`;
    const names = this.weight.endsWith('.weight')
      ? [own]
      : [own, `${this.prefix}_${suffix}`, `${this.prefix}_${suffix.replace(/^weight_/, '')}`];
    for (const name of names) {
      const tensor = this.#tensors.get(name);
      if (tensor === undefined) continue;
      this.#found.set(name, tensor);
      return { name, tensor };
    }
    return undefined;
  }

  /** @throws MissingTensorError */
  require(suffix: string): NamedTensor {
    const found = this.find(suffix);
    if (found !== undefined) return found;
    throw new MissingTensorError(
      `'${this.codesName}' is quantized, but there is no '${this.prefix}.${suffix}' to make numbers of it.`,
      INCOMPLETE,
    );
  }

  /** @throws WeightDTypeError */
  checkDType({ name, tensor }: NamedTensor, dtypes: readonly string[]): void {
    if (dtypes.includes(tensor.dtype)) return;
    throw new WeightDTypeError(
      `'${name}' is stored as ${tensor.dtype}, expected ${dtypes.join(' or ')}, as this quantization method has it.`,
      MIXED_UP,
    );
  }

  /** @throws WeightShapeError */
  checkShape({ name, tensor }: NamedTensor, shape: readonly number[]): void {
    if (formatShape(tensor.shape) === formatShape(shape)) return;
    throw new WeightShapeError(
      `'${name}' has shape ${formatShape(tensor.shape)}; for '${this.weight}' it is ${formatShape(shape)}.`,
      MIXED_UP,
    );
  }

  /** @throws WeightShapeError where the codes are no matrix, or stack of matrices. */
  checkMatrix(): void {
    const { shape } = this.codes;
    if ((shape.length === 2 || shape.length === 3) && elementCount(shape) > 0) return;
    throw new WeightShapeError(
      `'${this.codesName}' has shape ${formatShape(shape)}, which is no matrix, nor a stack of matrices.`,
      MIXED_UP,
    );
  }

  /** @throws ConfigError where groups do not divide the columns. */
  checkGroups(columns: number, groupSize: number): void {
    if (groupSize === Infinity || columns % groupSize === 0) return;
    throw new ConfigError(
      `'${this.weight}' has ${columns} columns, which groups of ${groupSize} do not divide.`,
      'Compare the group size in the quantization config with the one that the model was quantized with.',
    );
  }

  /**
   * The scales of a weight, or what else there is one of for each block.
   * @param values how they are stored; by default as their dtype says.
   * @throws WeightShapeError, WeightDTypeError
   */
  factors(
    factors: NamedTensor,
    shape: readonly number[],
    { rowsPerScale, columnsPerScale }: Coverage,
    { values, global }: { values?: FactorValues | undefined; global?: GlobalFactor | undefined } = {},
  ): TensorFactors {
    const { name, tensor } = factors;
    const read = values ?? scaleValues(tensor.dtype);
    if (read === undefined || (read === 'float' && !isFloat(tensor.dtype))) {
      this.checkDType(factors, ['F32', 'BF16', 'F16', 'F8_E4M3', 'F8_E8M0', 'U8']);
    }
    const [rows, columns] = shape.slice(-2);
    const factorRows = rowsPerScale === Infinity ? 1 : Math.ceil(rows / rowsPerScale);
    const groups = columnsPerScale === Infinity ? 1 : Math.ceil(columns / columnsPerScale);
    const expected = [...shape.slice(0, -2), factorRows, groups];
    // One value for a stack is that of each of its matrices.
    const isShared = factorRows * groups === 1 && elementCount(tensor.shape) === 1;
    if (!isShared && squeezed(tensor.shape) !== squeezed(expected)) this.checkShape({ name, tensor }, expected);
    return new TensorFactors(reshaped(tensor, isShared ? [1, 1] : expected), read ?? 'float', {
      rowsPerFactor: rowsPerScale,
      groups,
      isPerMatrix: shape.length === 3 && !isShared,
      global,
    });
  }

  /** What the scales cover, where the config does not say: all of a matrix, if there is one, else a row each. */
  coverageOf(scales: NamedTensor, shape: readonly number[]): Coverage {
    const count = elementCount(scales.tensor.shape);
    return count === 1 || count === elementCount(shape.slice(0, -2)) ? PER_TENSOR : PER_CHANNEL;
  }

  /** An error about values of one of the tensors. */
  damaged(problem: string): WeightShapeError {
    return new WeightShapeError(problem, 'The quantized weights are damaged; download or quantize the model again.');
  }

  /** The weight, of codes and scales among what was found. */
  async scaled(shape: readonly number[], layout: WeightLayout, parts: ScaledParts): Promise<QuantizedTensor> {
    return this.tensor(shape, layout, new ScaledMatrix(parts), await blockRows(shape, layout, parts));
  }

  /** The weight, of what was found. */
  tensor(
    shape: readonly number[],
    layout: WeightLayout,
    reader: MatrixReader,
    blockReader?: BlockReader,
  ): QuantizedTensor {
    return new QuantizedTensor({
      name: this.weight,
      shape,
      layout,
      codes: this.codes,
      stored: [...this.#found.values()],
      reader,
      blockReader,
    });
  }
}

/** A shape without its dimensions of one. */
function squeezed(shape: readonly number[]): string {
  return formatShape(shape.filter((extent) => extent !== 1));
}

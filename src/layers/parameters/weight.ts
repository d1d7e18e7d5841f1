import type { LinearWeight } from '../../backends/contract/linear.ts';
import { fitsBlocks, isBlockFormat, type MatrixDType } from '../../tensor/block-formats.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { LayerContext } from './layer-context.ts';
import { Loaded, type MatrixRole, type Parameter, type ParameterRole } from './parameter.ts';
import type { QuantizationConfig } from './quantization.ts';
import { linearWeightSink, tensorSink } from './row-sink.ts';
import { replicatedWeightLoader, type WeightLoader } from './weight-loaders.ts';

/**
 * A weight of a layer: the parameter to list, and the value once it has been loaded.
 *
 * @example
 * ```ts
 * const weight = tensorWeight(context, 'norm', { owner: 'A norm', shape: [512] });
 * const parameters = [['weight', weight.parameter]] as const; // what the layer's `parameters()` yields
 * // Once the parameters have been loaded: weight.get()
 * ```
 */
export class Weight<T> extends Loaded<T> {
  readonly parameter: Parameter;

  /** @param owner names the layer in an error, as in 'An RMSNorm'. */
  constructor(owner: string, parameter: (place: (value: T) => void) => Parameter) {
    super(owner);
    this.parameter = parameter((value) => this.set(value));
  }
}

/** Declaration of a weight, whatever it is kept as. */
export interface WeightSpec {
  /** Names the layer in an error, as in 'An RMSNorm'. */
  readonly owner: string;
  /** Shape in the checkpoint. */
  readonly shape: readonly number[];
  /** Shape of this rank's part. Default: shape. */
  readonly ownShape?: readonly number[] | undefined;
  /** Default: every rank holds the whole. */
  readonly loader?: WeightLoader | undefined;
}

/**
 * Declares a small weight, which stays float32.
 *
 * @example
 * ```ts
 * const weight = tensorWeight(context, 'norm', { owner: 'A norm', shape: [512] });
 * ```
 */
export function tensorWeight(
  { backend }: LayerContext,
  role: Exclude<ParameterRole, MatrixRole>,
  { owner, shape, ownShape = shape, loader = replicatedWeightLoader }: WeightSpec,
): Weight<Tensor> {
  return new Weight<Tensor>(owner, (place) => ({
    role,
    shape,
    loader,
    place: () => tensorSink(backend, ownShape, place),
  }));
}

/** Declaration of a matrix. */
export interface MatrixSpec extends WeightSpec {
  /** (outputs, inputs) */
  readonly shape: readonly [number, number];
  readonly ownShape?: readonly [number, number] | undefined;
  /** The layer's name in the model, which `quantConfig` goes by. */
  readonly prefix: string;
  readonly quantConfig?: QuantizationConfig | undefined;
}

/**
 * Declares a matrix, stored in the dtype that its quantisation config says, or else its context.
 *
 * @example
 * ```ts
 * const spec = { owner: 'A projection', shape: [1024, 256], prefix: 'mlp.up_proj' } as const;
 * const weight = matrixWeight(context, 'projection', spec);
 * ```
 */
export function matrixWeight(context: LayerContext, role: MatrixRole, spec: MatrixSpec): Weight<LinearWeight> {
  const { owner, shape, ownShape = shape, loader = replicatedWeightLoader } = spec;
  const dtype = matrixDType(context, role, spec, ownShape[1]);
  return new Weight<LinearWeight>(owner, (place) => ({
    role,
    dtype,
    shape,
    loader,
    place: () => linearWeightSink(context.backend, ownShape, dtype, place),
  }));
}

/**
 * Storage of a layer's matrix: what its quantisation config says, or else what its context says. Blocks of a file are
 * kept where the rank's columns are whole blocks.
 * @param columns of the matrix on this rank.
 */
export function matrixDType(
  context: LayerContext,
  role: MatrixRole,
  { prefix, quantConfig }: Pick<MatrixSpec, 'prefix' | 'quantConfig'>,
  columns: number,
): MatrixDType {
  const dtype = quantConfig?.weightDType(prefix, role) ?? context.weightDType;
  return isBlockFormat(dtype) && !fitsBlocks(dtype, columns) ? context.weightDType : dtype;
}

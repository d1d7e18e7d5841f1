import { syntheticWeight } from '../src/bench/synthetic-weights.ts';
import type { ParameterRole } from '../src/layers/parameters/parameter.ts';
import type { GgufDType, GgufTensor, GgufValue } from './gguf-writer.ts';

/** The seed of `mamba2 bench`, so that both sides run the same model. */
const SEED = 0;

/** Contents of a model's file besides the vocabulary. */
export interface GgufModel {
  readonly architecture: string;
  /** Under the architecture's name. */
  readonly metadata: readonly (readonly [string, GgufValue])[];
  readonly tensors: readonly GgufTensor[];
}

/** The sizes of a state-space layer that its tensors have. */
export interface MixerSizes {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly numHeads: number;
  readonly nGroups: number;
  readonly ssmStateSize: number;
  readonly convKernelSize: number;
}

export const uint32 = (value: number): GgufValue => ({ uint32: value });
export const float32 = (value: number): GgufValue => ({ float32: value });

/** A matrix of ours in the file's dtype. */
export function matrix(name: string, ourName: string, shape: readonly number[], dtype: GgufDType): GgufTensor {
  return { name, shape, dtype, ourName, values: () => syntheticWeight(ourName, 'projection', shape, SEED) };
}

/**
 * A weight that stays float32.
 * @param ourShape where a checkpoint has it otherwise.
 */
export function exact(
  name: string,
  ourName: string,
  role: ParameterRole,
  shape: readonly number[],
  ourShape = shape,
): GgufTensor {
  // A column of one is a vector to us.
  const whole = ourShape.length === 2 && ourShape[1] === 1 ? [ourShape[0]] : ourShape;
  return { name, shape, dtype: 'F32', ourName, values: () => syntheticWeight(ourName, role, whole, SEED) };
}

/** The tensor with each row times a number: llama.cpp's converters put a model's multipliers into its weights. */
export function scaledRows(tensor: GgufTensor, factorOf: (row: number) => number): GgufTensor {
  const columns = tensor.shape[tensor.shape.length - 1];
  return { ...tensor, values: () => tensor.values().map((value, i) => value * factorOf(Math.floor(i / columns))) };
}

/** Rows [begin, end) of a tensor under another name. */
export function rowsOf(name: string, tensor: GgufTensor, begin: number, end: number): GgufTensor {
  const [, columns] = tensor.shape;
  const values = () => tensor.values().slice(begin * columns, end * columns);
  return { ...tensor, name, shape: [end - begin, columns], values };
}

/** The same of every matrix of a stack. */
export function rowsOfEach(name: string, tensor: GgufTensor, begin: number, end: number): GgufTensor {
  const [count, rows, columns] = tensor.shape;
  const values = () => {
    const all = tensor.values();
    const size = (end - begin) * columns;
    const own = new Float32Array(count * size);
    for (let i = 0; i < count; i++) {
      own.set(all.subarray((i * rows + begin) * columns, (i * rows + end) * columns), i * size);
    }
    return own;
  };
  return { ...tensor, name, shape: [count, end - begin, columns], values };
}

/** `ssm.*` of the metadata. */
export function mixerMetadata({
  intermediateSize,
  numHeads,
  nGroups,
  ssmStateSize,
  convKernelSize,
}: MixerSizes): readonly (readonly [string, GgufValue])[] {
  return [
    ['ssm.conv_kernel', uint32(convKernelSize)],
    ['ssm.inner_size', uint32(intermediateSize)],
    ['ssm.state_size', uint32(ssmStateSize)],
    ['ssm.time_step_rank', uint32(numHeads)],
    ['ssm.group_count', uint32(nGroups)],
  ];
}

/** A state-space layer: `theirs` and `ours` are what its weights' names begin with. */
export function mixerTensors(
  theirs: string,
  ours: string,
  { hiddenSize, intermediateSize, numHeads, nGroups, ssmStateSize, convKernelSize }: MixerSizes,
  dtype: GgufDType,
  { norm = true } = {},
): GgufTensor[] {
  const convDim = intermediateSize + 2 * nGroups * ssmStateSize;
  const decay = exact(`${theirs}.ssm_a`, `${ours}.A_log`, 'logDecay', [numHeads, 1]);
  const perGroup = [nGroups, intermediateSize / nGroups];
  return [
    matrix(
      `${theirs}.ssm_in.weight`,
      `${ours}.in_proj.weight`,
      [intermediateSize + convDim + numHeads, hiddenSize],
      dtype,
    ),
    exact(
      `${theirs}.ssm_conv1d.weight`,
      `${ours}.conv1d.weight`,
      'conv',
      [convDim, convKernelSize],
      [convDim, 1, convKernelSize],
    ),
    exact(`${theirs}.ssm_conv1d.bias`, `${ours}.conv1d.bias`, 'bias', [convDim]),
    exact(`${theirs}.ssm_dt.bias`, `${ours}.dt_bias`, 'stepBias', [numHeads]),
    { ...decay, values: () => decay.values().map((logA) => -Math.exp(logA)) },
    exact(`${theirs}.ssm_d`, `${ours}.D`, 'skip', [numHeads, 1]),
    ...(norm ? [exact(`${theirs}.ssm_norm.weight`, `${ours}.norm.weight`, 'norm', perGroup, [intermediateSize])] : []),
    matrix(`${theirs}.ssm_out.weight`, `${ours}.out_proj.weight`, [hiddenSize, intermediateSize], dtype),
  ];
}

/** Queries, keys, values and output of an attention layer. */
export function attentionTensors(
  theirs: string,
  ours: string,
  sizes: {
    readonly hiddenSize: number;
    readonly numAttentionHeads: number;
    readonly numKeyValueHeads: number;
    readonly attentionHeadDim: number;
  },
  dtype: GgufDType,
): GgufTensor[] {
  const { hiddenSize, attentionHeadDim } = sizes;
  const queries = sizes.numAttentionHeads * attentionHeadDim;
  const keys = sizes.numKeyValueHeads * attentionHeadDim;
  return [
    matrix(`${theirs}.attn_q.weight`, `${ours}.q_proj.weight`, [queries, hiddenSize], dtype),
    matrix(`${theirs}.attn_k.weight`, `${ours}.k_proj.weight`, [keys, hiddenSize], dtype),
    matrix(`${theirs}.attn_v.weight`, `${ours}.v_proj.weight`, [keys, hiddenSize], dtype),
    matrix(`${theirs}.attn_output.weight`, `${ours}.o_proj.weight`, [hiddenSize, queries], dtype),
  ];
}

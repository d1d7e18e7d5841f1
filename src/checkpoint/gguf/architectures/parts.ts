import { ConfigError, MissingTensorError } from '../../../errors.ts';
import { reordered, reshaped, rowsOf } from '../../files/tensor-views.ts';
import type { JsonObject } from '../../json/json.ts';
import type { GgufModel } from './gguf-model.ts';

/** Embeddings, final norm and head. A head that is missing is the embeddings' table. */
export function addEnds(
  model: GgufModel,
  names: { readonly embeddings: string; readonly finalNorm: string },
): { readonly vocab_size: number; readonly hidden_size: number; readonly tie_word_embeddings: boolean } {
  model.add(`${names.embeddings}.weight`, 'token_embd.weight');
  model.add(`${names.finalNorm}.weight`, 'output_norm.weight');
  const isTied = !model.has('output.weight');
  if (!isTied) model.addLinear('lm_head', 'output');
  return {
    // Padding included, which the converter adds.
    vocab_size: model.shape('token_embd.weight')[0],
    hidden_size: model.integer('embedding_length'),
    tie_word_embeddings: isTied,
  };
}

/** Sizes of the mixers, the same in all layers. */
export interface MixerSizes {
  readonly intermediateSize: number;
  readonly numHeads: number;
  readonly headDim: number;
  readonly stateSize: number;
  readonly numGroups: number;
  readonly convKernel: number;
}

/** @throws ConfigError when the heads do not divide the channels. */
export function mixerSizes(model: GgufModel): MixerSizes {
  const intermediateSize = model.integer('ssm.inner_size');
  // llama.cpp's name is that of Mamba-1, where the rank of Δ took this place.
  const numHeads = model.integer('ssm.time_step_rank');
  const headDim = intermediateSize / numHeads;
  if (!Number.isInteger(headDim) || headDim < 1) {
    throw new ConfigError(
      `${model.name}: ssm.time_step_rank is ${numHeads}, which does not divide ssm.inner_size, ${intermediateSize}.`,
      'They are the heads of a mixer, and its channels.',
    );
  }
  return {
    intermediateSize,
    numHeads,
    headDim,
    stateSize: model.integer('ssm.state_size'),
    numGroups: model.optionalInteger('ssm.group_count') ?? 1,
    convKernel: model.integer('ssm.conv_kernel'),
  };
}

/**
 * A mixer. The file has A itself, as (H, 1), so does D; the norm's weight has a row per group, and the taps of the
 * convolution have no axis for the inputs of a group, which is one channel.
 * @param from name of the layer in the file, `blk.0`.
 */
export function addMixer(model: GgufModel, name: string, from: string): void {
  model.addLinear(`${name}.in_proj`, `${from}.ssm_in`);
  model.add(`${name}.conv1d.weight`, `${from}.ssm_conv1d.weight`, ([taps]) =>
    reshaped(taps, [taps.shape[0], 1, ...taps.shape.slice(1)]),
  );
  if (model.has(`${from}.ssm_conv1d.bias`)) model.add(`${name}.conv1d.bias`, `${from}.ssm_conv1d.bias`);
  for (const [own, stored] of [
    ['A', 'ssm_a'],
    ['D', 'ssm_d'],
    ['dt_bias', 'ssm_dt.bias'],
  ]) {
    model.add(`${name}.${own}`, `${from}.${stored}`, ([values]) => flat(values));
  }
  if (model.has(`${from}.ssm_norm.weight`)) {
    model.add(`${name}.norm.weight`, `${from}.ssm_norm.weight`, ([weight]) => flat(weight));
  }
  model.addLinear(`${name}.out_proj`, `${from}.ssm_out`);
}

function flat(tensor: Parameters<typeof reshaped>[0]) {
  return reshaped(tensor, [tensor.shape.reduce((product, size) => product * size, 1)]);
}

/** The keys of Bamba's, Granite's and Falcon-H1's configs that describe mixers. */
export function prefixedMixerConfig(model: GgufModel, firstMixer: string): JsonObject {
  const sizes = mixerSizes(model);
  return {
    mamba_d_ssm: sizes.intermediateSize,
    mamba_expand: sizes.intermediateSize / model.integer('embedding_length'),
    mamba_n_heads: sizes.numHeads,
    mamba_d_head: sizes.headDim,
    mamba_d_state: sizes.stateSize,
    mamba_n_groups: sizes.numGroups,
    mamba_d_conv: sizes.convKernel,
    mamba_conv_bias: model.has(`${firstMixer}.ssm_conv1d.bias`),
    mamba_proj_bias: model.has(`${firstMixer}.ssm_in.bias`),
  };
}

/** Heads of the attention layers, which are the same in all of them. */
export interface AttentionSizes {
  readonly numHeads: number;
  readonly numKvHeads: number;
  readonly headDim: number;
}

/** @param layers those that have attention. */
export function attentionSizes(model: GgufModel, layers: readonly number[]): AttentionSizes {
  const numHeads = model.sameForAll('attention.head_count', layers);
  return {
    numHeads,
    numKvHeads: model.sameForAll('attention.head_count_kv', layers),
    headDim: model.optionalInteger('attention.key_length') ?? Math.floor(model.integer('embedding_length') / numHeads),
  };
}

/** The keys of configs that describe attention. A model without attention layers has the defaults. */
export function attentionConfig(
  model: GgufModel,
  { numHeads, numKvHeads, headDim }: AttentionSizes,
  layers: readonly number[],
): JsonObject {
  if (layers.length === 0) return {};
  return {
    num_attention_heads: numHeads,
    num_key_value_heads: numKvHeads,
    head_dim: headDim,
    attention_bias: ['q', 'qkv'].some((letters) => model.has(`blk.${layers[0]}.attn_${letters}.bias`)),
  };
}

/**
 * An attention layer. The converter stacks queries, keys and values if it is asked to.
 * @param pairs of columns that are rotated together, if they lie next to each other in the file. Hugging Face has them
 * half of the rotated columns apart, and that is where they are looked for here.
 */
export function addAttention(
  model: GgufModel,
  name: string,
  from: string,
  { numHeads, numKvHeads, headDim }: AttentionSizes,
  pairs?: number,
): void {
  const isStacked = model.has(`${from}.attn_qkv.weight`);
  let before = 0;
  for (const [letter, heads] of [
    ['q', numHeads],
    ['k', numKvHeads],
    ['v', numKvHeads],
  ] as const) {
    const [firstRow, rows] = [before, heads * headDim];
    before += rows;
    model.addLinear(`${name}.${letter}_proj`, `${from}.attn_${isStacked ? 'qkv' : letter}`, ([tensor]) => {
      const own = isStacked ? rowsOf(tensor, firstRow, rows) : tensor;
      return pairs === undefined || letter === 'v' ? own : reordered(own, (row) => pairedRow(row, headDim, pairs));
    });
  }
  model.addLinear(`${name}.o_proj`, `${from}.attn_output`);
}

/** Where the row is that belongs here: of every head the first `2 * pairs` rows are pairs. */
function pairedRow(row: number, headDim: number, pairs: number): number {
  const column = row % headDim;
  if (column >= 2 * pairs) return row;
  return row - column + 2 * (column % pairs) + Math.floor(column / pairs);
}

/** Angles of rotary positions. */
export function ropeConfig(model: GgufModel, headDim: number): JsonObject {
  const type = model.optionalString('rope.scaling.type') ?? 'none';
  const rope: JsonObject = {
    rope_theta: model.factor('rope.freq_base') ?? 10000,
    partial_rotary_factor: (model.optionalInteger('rope.dimension_count') ?? headDim) / headDim,
  };
  if (type === 'none') return rope;
  return {
    ...rope,
    rope_scaling: {
      rope_type: type,
      factor: model.number('rope.scaling.factor'),
      original_max_position_embeddings:
        model.optionalInteger('rope.scaling.original_context_length') ?? model.integer('context_length'),
    },
  };
}

/** Kinds of layers and a tensor that only one kind has. */
const KIND_BY_TENSOR = [
  ['mamba', 'ssm_in'],
  ['attention', 'attn_output'],
  ['moe', 'ffn_gate_inp'],
  ['mlp', 'ffn_up'],
] as const;

export type LayerKind = (typeof KIND_BY_TENSOR)[number][0];

/**
 * What each layer is, by the tensors that it has. Where a layer is several, the first kind that is looked for.
 * @param count may be absurd: no more layers are looked at than there are.
 * @throws MissingTensorError when a layer is nothing.
 */
export function layerKinds(model: GgufModel, count: number): LayerKind[] {
  const kinds: LayerKind[] = [];
  while (kinds.length < count) {
    const prefix = `blk.${kinds.length}`;
    const found = KIND_BY_TENSOR.find(([, tensor]) => model.has(`${prefix}.${tensor}.weight`));
    if (found === undefined) {
      const tensors = KIND_BY_TENSOR.map(([, tensor]) => `'${prefix}.${tensor}.weight'`).join(', ');
      throw new MissingTensorError(
        `${model.name} should have ${count} layers, but has none of ${tensors}.`,
        'The file is incomplete; download it again, with all parts if it is split.',
      );
    }
    kinds.push(found[0]);
  }
  return kinds;
}

/** Numbers of the layers of a kind. */
export function layersOf(kinds: readonly LayerKind[], kind: LayerKind): number[] {
  return [...kinds.keys()].filter((i) => kinds[i] === kind);
}

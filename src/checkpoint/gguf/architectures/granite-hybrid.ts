import { stacked, stackedPerMatrix } from '../../files/tensor-views.ts';
import type { JsonObject } from '../../json/json.ts';
import type { GgufArchitecture, GgufModel } from './gguf-model.ts';
import {
  type AttentionSizes,
  addAttention,
  addEnds,
  addMixer,
  attentionConfig,
  attentionSizes,
  type LayerKind,
  layerKinds,
  layersOf,
  prefixedMixerConfig,
  ropeConfig,
} from './parts.ts';

/**
 * `GraniteMoeHybridForCausalLM`, with or without experts, and `BambaForCausalLM`. Bamba has rotary positions, which
 * Granite's hybrids do not have, and none of Granite's factors.
 */
export const graniteHybrid: GgufArchitecture = {
  name: 'granitehybrid',
  describe: (model) => {
    const kinds = layerKinds(model, model.integer('block_count'));
    const isRotated = model.optionalBoolean('rope.scaling.finetuned') ?? true;
    const factors = ['embedding_scale', 'residual_scale', 'logit_scale'];
    const isBamba = isRotated && factors.every((key) => model.factor(key) === undefined) && !hasExperts(model);
    const attention = attentionSizes(model, layersOf(kinds, 'attention'));
    const config = isBamba ? bamba(model, kinds, attention) : granite(model, kinds, attention, isRotated);
    return {
      ...config,
      num_hidden_layers: kinds.length,
      ...prefixedMixerConfig(model, `blk.${Math.max(kinds.indexOf('mamba'), 0)}`),
      ...attentionConfig(model, attention, layersOf(kinds, 'attention')),
      ...(isRotated ? ropeConfig(model, attention.headDim) : {}),
      rms_norm_eps: model.number('attention.layer_norm_rms_epsilon'),
    };
  },
};

function hasExperts(model: GgufModel): boolean {
  return (model.optionalInteger('expert_count') ?? 0) > 0;
}

function granite(
  model: GgufModel,
  kinds: readonly LayerKind[],
  attention: AttentionSizes,
  isRotated: boolean,
): JsonObject {
  const ends = addEnds(model, { embeddings: 'model.embed_tokens', finalNorm: 'model.norm' });
  const shared = hasExperts(model) ? '_shexp' : '';
  for (const [i, kind] of kinds.entries()) {
    const [name, from] = [`model.layers.${i}`, `blk.${i}`];
    addMixing(model, name, from, kind, attention, isRotated);
    model.add(`${name}.post_attention_layernorm.weight`, `${from}.ffn_norm.weight`);
    model.addLinear(
      `${name}.shared_mlp.input_linear`,
      ['gate', 'up'].map((part) => `${from}.ffn_${part}${shared}`),
      stacked,
    );
    model.addLinear(`${name}.shared_mlp.output_linear`, `${from}.ffn_down${shared}`);
    if (!hasExperts(model)) continue;
    model.addLinear(`${name}.block_sparse_moe.router.layer`, `${from}.ffn_gate_inp`);
    const isFused = model.has(`${from}.ffn_gate_up_exps.weight`);
    model.addLinear(
      `${name}.block_sparse_moe.input_linear`,
      (isFused ? ['gate_up'] : ['gate', 'up']).map((part) => `${from}.ffn_${part}_exps`),
      stackedPerMatrix,
    );
    model.addLinear(`${name}.block_sparse_moe.output_linear`, `${from}.ffn_down_exps`);
  }
  return {
    architectures: ['GraniteMoeHybridForCausalLM'],
    model_type: 'granitemoehybrid',
    ...ends,
    layer_types: [...kinds],
    position_embedding_type: isRotated ? 'rope' : 'nope',
    attention_multiplier: model.factor('attention.scale') ?? attention.headDim ** -0.5,
    embedding_multiplier: model.factor('embedding_scale') ?? 1,
    residual_multiplier: model.factor('residual_scale') ?? 1,
    logits_scaling: model.factor('logit_scale') ?? 1,
    num_local_experts: model.optionalInteger('expert_count') ?? 0,
    num_experts_per_tok: model.optionalInteger('expert_used_count') ?? 0,
    intermediate_size: hasExperts(model) ? model.shape('blk.0.ffn_down_exps.weight')[2] : 0,
    shared_intermediate_size: model.shape(`blk.0.ffn_up${shared}.weight`)[0],
  };
}

function bamba(model: GgufModel, kinds: readonly LayerKind[], attention: AttentionSizes): JsonObject {
  const ends = addEnds(model, { embeddings: 'model.embed_tokens', finalNorm: 'model.final_layernorm' });
  for (const [i, kind] of kinds.entries()) {
    const [name, from] = [`model.layers.${i}`, `blk.${i}`];
    addMixing(model, name, from, kind, attention, true);
    model.add(`${name}.pre_ff_layernorm.weight`, `${from}.ffn_norm.weight`);
    for (const part of ['gate', 'up', 'down'])
      model.addLinear(`${name}.feed_forward.${part}_proj`, `${from}.ffn_${part}`);
  }
  return {
    architectures: ['BambaForCausalLM'],
    model_type: 'bamba',
    ...ends,
    attn_layer_indices: layersOf(kinds, 'attention'),
    intermediate_size: model.shape('blk.0.ffn_up.weight')[0],
    mlp_bias: model.has('blk.0.ffn_up.bias'),
  };
}

/** The first half of a layer: its norm, and a mixer or attention. */
function addMixing(
  model: GgufModel,
  name: string,
  from: string,
  kind: LayerKind,
  attention: AttentionSizes,
  isRotated: boolean,
): void {
  model.add(`${name}.input_layernorm.weight`, `${from}.attn_norm.weight`);
  if (kind === 'mamba') {
    addMixer(model, `${name}.mamba`, from);
    return;
  }
  // Without positions, an order of columns that queries and keys share means nothing.
  const pairs = isRotated ? (model.optionalInteger('rope.dimension_count') ?? attention.headDim) / 2 : undefined;
  addAttention(model, `${name}.self_attn`, from, attention, pairs);
}

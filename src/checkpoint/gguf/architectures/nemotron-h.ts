import { ConfigError } from '../../../errors.ts';
import type { JsonObject } from '../../json/json.ts';
import type { GgufArchitecture, GgufModel } from './gguf-model.ts';
import {
  type AttentionSizes,
  addAttention,
  addEnds,
  addMixer,
  attentionConfig,
  attentionSizes,
  layerKinds,
  layersOf,
  mixerSizes,
} from './parts.ts';

/** `NemotronHForCausalLM` without experts. */
export const nemotronH: GgufArchitecture = { name: 'nemotron_h', describe };

/** `NemotronHForCausalLM` with experts. */
export const nemotronHMoe: GgufArchitecture = { name: 'nemotron_h_moe', describe };

function describe(model: GgufModel): JsonObject {
  const ends = addEnds(model, { embeddings: 'backbone.embeddings', finalNorm: 'backbone.norm_f' });
  // Blocks after the last layer guess further tokens.
  const modules = model.optionalInteger('nextn_predict_layers') ?? 0;
  const count = model.integer('block_count') - modules;
  model.ignore((name) => Number(/^blk\.(\d+)\./.exec(name)?.[1] ?? -1) >= count);
  const kinds = layerKinds(model, count);
  const attention = attentionSizes(model, layersOf(kinds, 'attention'));
  for (const [i, kind] of kinds.entries()) {
    const [name, from] = [`backbone.layers.${i}.mixer`, `blk.${i}`];
    model.add(`backbone.layers.${i}.norm.weight`, `${from}.attn_norm.weight`);
    if (kind === 'mamba') addMixer(model, name, from);
    else if (kind === 'attention') addAttention(model, name, from, attention);
    else if (kind === 'moe') addExperts(model, name, from);
    else for (const part of ['up', 'down']) model.addLinear(`${name}.${part}_proj`, `${from}.ffn_${part}`);
  }
  const hasPredictor = modules === 1 && addPredictor(model, `blk.${count}`, attention);
  const sizes = mixerSizes(model);
  const mlp = layersOf(kinds, 'mlp');
  return {
    architectures: ['NemotronHForCausalLM'],
    model_type: 'nemotron_h',
    ...ends,
    layers_block_type: kinds,
    mamba_num_heads: sizes.numHeads,
    mamba_head_dim: sizes.headDim,
    ssm_state_size: sizes.stateSize,
    conv_kernel: sizes.convKernel,
    n_groups: sizes.numGroups,
    use_bias: model.has(`blk.${Math.max(kinds.indexOf('mamba'), 0)}.ssm_in.bias`),
    use_conv_bias: model.has(`blk.${Math.max(kinds.indexOf('mamba'), 0)}.ssm_conv1d.bias`),
    ...attentionConfig(model, attention, layersOf(kinds, 'attention')),
    ...(mlp.length > 0 ? { intermediate_size: mlp.map((i) => model.shape(`blk.${i}.ffn_up.weight`)[0]) } : {}),
    mlp_bias: kinds.some((_, i) => model.has(`blk.${i}.ffn_up.bias`) || model.has(`blk.${i}.ffn_up_shexp.bias`)),
    ...expertsConfig(model, layersOf(kinds, 'moe')),
    ...(hasPredictor ? { num_nextn_predict_layers: 1, mtp_layers_block_type: ['attention', 'moe'] } : {}),
    layer_norm_epsilon:
      model.factor('attention.layer_norm_rms_epsilon') ?? model.number('attention.layer_norm_epsilon'),
  };
}

/** Parts of a block that predicts which others don't have. */
const NEXTN = ['enorm', 'hnorm', 'eh_proj', 'shared_head_norm'];

/**
 * The layers for multi-token prediction: attention and experts, which llama.cpp has as one block.
 * @returns false where the file has no such block, or one of another form, without which the model is whole.
 */
function addPredictor(model: GgufModel, from: string, attention: AttentionSizes): boolean {
  const needed = ['attn_norm', 'post_attention_norm', 'ffn_gate_inp', ...NEXTN.map((part) => `nextn.${part}`)];
  if (!needed.every((part) => model.has(`${from}.${part}.weight`))) return false;
  const [first, last] = ['mtp.layers.0', 'mtp.layers.1'];
  for (const part of ['enorm', 'hnorm', 'eh_proj'])
    model.add(`${first}.${part}.weight`, `${from}.nextn.${part}.weight`);
  model.add(`${first}.norm.weight`, `${from}.attn_norm.weight`);
  addAttention(model, `${first}.mixer`, from, attention);
  model.add(`${last}.norm.weight`, `${from}.post_attention_norm.weight`);
  addExperts(model, `${last}.mixer`, from);
  model.add(`${last}.final_layernorm.weight`, `${from}.nextn.shared_head_norm.weight`);
  return true;
}

/** Experts, in fewer columns if the file says so, and one that every token visits. */
function addExperts(model: GgufModel, name: string, from: string): void {
  model.addLinear(`${name}.gate`, `${from}.ffn_gate_inp`);
  model.add(`${name}.gate.e_score_correction_bias`, `${from}.exp_probs_b.bias`);
  for (const part of ['up', 'down']) {
    model.add(`${name}.experts.${part}_proj`, `${from}.ffn_${part}_exps.weight`);
    model.addLinear(`${name}.shared_experts.${part}_proj`, `${from}.ffn_${part}_shexp`);
  }
  if (!model.has(`${from}.ffn_latent_down.weight`)) return;
  model.addLinear(`${name}.fc1_latent_proj`, `${from}.ffn_latent_down`);
  model.addLinear(`${name}.fc2_latent_proj`, `${from}.ffn_latent_up`);
}

/** @param layers those that have experts. */
function expertsConfig(model: GgufModel, layers: readonly number[]): JsonObject {
  if (layers.length === 0) return {};
  const latent = `blk.${layers[0]}.ffn_latent_down.weight`;
  return {
    n_routed_experts: model.integer('expert_count'),
    num_experts_per_tok: model.sameForAll('expert_used_count', layers),
    moe_intermediate_size: expertSize(model, layers),
    moe_shared_expert_intermediate_size: model.shape(`blk.${layers[0]}.ffn_up_shexp.weight`)[0],
    norm_topk_prob: model.optionalBoolean('expert_weights_norm') ?? false,
    routed_scaling_factor: model.factor('expert_weights_scale') ?? 1,
    n_group: model.factor('expert_group_count') ?? 1,
    topk_group: model.factor('expert_group_used_count') ?? 1,
    ...(model.has(latent) ? { moe_latent_size: model.shape(latent)[0] } : {}),
  };
}

/** @throws ConfigError when experts of different layers have different sizes, as Puzzle models' do. */
function expertSize(model: GgufModel, layers: readonly number[]): number {
  const sizes = new Set(layers.map((i) => model.shape(`blk.${i}.ffn_up_exps.weight`)[1]));
  const [size] = sizes;
  if (sizes.size === 1) return size;
  throw new ConfigError(
    `${model.name}: its experts have ${[...sizes].join(' and ')} rows in different layers.`,
    'Models whose layers differ in that are not supported.',
  );
}

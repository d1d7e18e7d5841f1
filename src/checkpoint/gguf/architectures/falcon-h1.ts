import type { GgufArchitecture } from './gguf-model.ts';
import {
  addAttention,
  addEnds,
  addMixer,
  attentionConfig,
  attentionSizes,
  layerKinds,
  prefixedMixerConfig,
  ropeConfig,
} from './parts.ts';

/** `FalconH1ForCausalLM`. Its multipliers are in the weights already, so the config has none: they are 1. */
export const falconH1: GgufArchitecture = {
  name: 'falcon-h1',
  describe: (model) => {
    const ends = addEnds(model, { embeddings: 'model.embed_tokens', finalNorm: 'model.final_layernorm' });
    const layers = [...layerKinds(model, model.integer('block_count')).keys()];
    const attention = attentionSizes(model, layers);
    for (const i of layers) {
      const [name, from] = [`model.layers.${i}`, `blk.${i}`];
      model.add(`${name}.input_layernorm.weight`, `${from}.attn_norm.weight`);
      addMixer(model, `${name}.mamba`, from);
      addAttention(model, `${name}.self_attn`, from, attention);
      // Without the suffix that all other weights have.
      model.add(`${name}.pre_ff_layernorm.weight`, `${from}.ffn_norm`);
      for (const part of ['gate', 'up', 'down'])
        model.addLinear(`${name}.feed_forward.${part}_proj`, `${from}.ffn_${part}`);
    }
    return {
      architectures: ['FalconH1ForCausalLM'],
      model_type: 'falcon_h1',
      ...ends,
      num_hidden_layers: layers.length,
      ...prefixedMixerConfig(model, 'blk.0'),
      projectors_bias: model.has('blk.0.ssm_out.bias'),
      mamba_rms_norm: model.has('blk.0.ssm_norm.weight'),
      mamba_norm_before_gate: false,
      ...attentionConfig(model, attention, layers),
      ...ropeConfig(model, attention.headDim),
      intermediate_size: model.shape('blk.0.ffn_up.weight')[0],
      mlp_bias: model.has('blk.0.ffn_up.bias'),
      rms_norm_eps: model.number('attention.layer_norm_rms_epsilon'),
    };
  },
};

import type { GgufArchitecture } from './gguf-model.ts';
import { addEnds, addMixer, layerKinds, mixerSizes } from './parts.ts';

/** `Mamba2ForCausalLM`, Codestral Mamba among them. */
export const mamba2: GgufArchitecture = {
  name: 'mamba2',
  describe: (model) => {
    const ends = addEnds(model, { embeddings: 'backbone.embeddings', finalNorm: 'backbone.norm_f' });
    const layers = layerKinds(model, model.integer('block_count'));
    for (const i of layers.keys()) {
      model.add(`backbone.layers.${i}.norm.weight`, `blk.${i}.attn_norm.weight`);
      addMixer(model, `backbone.layers.${i}.mixer`, `blk.${i}`);
    }
    const sizes = mixerSizes(model);
    return {
      architectures: ['Mamba2ForCausalLM'],
      model_type: 'mamba2',
      ...ends,
      num_hidden_layers: layers.length,
      intermediate_size: sizes.intermediateSize,
      expand: sizes.intermediateSize / ends.hidden_size,
      num_heads: sizes.numHeads,
      head_dim: sizes.headDim,
      state_size: sizes.stateSize,
      n_groups: sizes.numGroups,
      conv_kernel: sizes.convKernel,
      use_conv_bias: model.has('blk.0.ssm_conv1d.bias'),
      use_bias: model.has('blk.0.ssm_in.bias'),
      layer_norm_epsilon: model.number('attention.layer_norm_rms_epsilon'),
    };
  },
};

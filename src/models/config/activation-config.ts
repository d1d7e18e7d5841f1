import { MLP_ACTIVATIONS, type MlpActivation } from '../../backends/contract/activations.ts';
import type { ConfigReader } from '../../checkpoint/json/config-reader.ts';

/** Names of `transformers.activations.ACT2FN` besides our own. */
const ACTIVATION_ALIASES: Readonly<Record<string, MlpActivation>> = {
  swish: 'silu',
  gelu_new: 'gelu_tanh',
  gelu_fast: 'gelu_tanh',
  gelu_python: 'gelu',
  gelu_pytorch_tanh: 'gelu_tanh',
  linear: 'identity',
};

/** An activation of feed-forward layers or convolutions, under one of Hugging Face's names for it. */
export function readActivation(config: ConfigReader, key: string, fallback: MlpActivation): MlpActivation {
  const name = config.oneOf(key, [...MLP_ACTIVATIONS, ...Object.keys(ACTIVATION_ALIASES)], { default: fallback });
  return ACTIVATION_ALIASES[name] ?? MLP_ACTIVATIONS.find((known) => known === name) ?? fallback;
}

import type { MlpActivation } from '../backends/contract/activations.ts';
import { ConfigReader } from '../checkpoint/json/config-reader.ts';
import { getOwn, type JsonObject } from '../checkpoint/json/json.ts';
import { ConfigError } from '../errors.ts';
import type { ModelConfig } from './causal-lm.ts';
import { readActivation } from './config/activation-config.ts';
import { checkedMixer, SIZE } from './config/mixer-config.ts';
import { readTokenIds } from './config/token-ids.ts';

/** config.json of a Mamba2ForCausalLM, with defaults filled in. Names are Hugging Face's. */
export interface Mamba2Config extends ModelConfig {
  readonly numHeads: number;
  readonly stateSize: number;
  readonly convKernel: number;
  readonly intermediateSize: number;
  readonly nGroups: number;
  readonly headDim: number;
  readonly useBias: boolean;
  readonly useConvBias: boolean;
  readonly hiddenAct: MlpActivation;
  readonly layerNormEpsilon: number;
  readonly useRmsNorm: boolean;
  /** Normalise first, then gate. Default: false. */
  readonly normBeforeGate?: boolean | undefined;
  readonly timeStepLimit: readonly [number, number];
}

const FILE = 'config.json';

/** Reads either layout: Hugging Face's, or that of the original `state-spaces/mamba2-*` repositories (`ssm_cfg`). */
export function readMamba2Config(json: JsonObject): Mamba2Config {
  const config = new ConfigReader(json, FILE);
  return config.has('ssm_cfg') ? readOriginalConfig(config, json) : readHuggingFaceConfig(config, json);
}

/** Defaults are those of transformers' Mamba2Config; sizes without a sensible default are required. */
function readHuggingFaceConfig(config: ConfigReader, json: JsonObject): Mamba2Config {
  const hiddenSize = config.integer('hidden_size', SIZE);
  const expand = config.number('expand', { default: 2, min: 0 });
  const intermediateSize =
    config.optionalInteger('intermediate_size', SIZE) ?? wholeProduct(expand, hiddenSize, 'expand');
  const headDim = config.integer('head_dim', { default: 64, ...SIZE });
  return checkedMixer(FILE, {
    architecture: 'Mamba2ForCausalLM',
    vocabSize: config.integer('vocab_size', SIZE),
    hiddenSize,
    numHiddenLayers: config.integer(['num_hidden_layers', 'n_layer'], SIZE),
    stateSize: config.integer('state_size', { default: 128, ...SIZE }),
    convKernel: config.integer('conv_kernel', { default: 4, ...SIZE }),
    intermediateSize,
    nGroups: config.integer('n_groups', { default: 8, ...SIZE }),
    numHeads: config.integer('num_heads', { default: 128, ...SIZE }),
    headDim,
    useBias: config.boolean('use_bias', { default: false }),
    useConvBias: config.boolean('use_conv_bias', { default: true }),
    hiddenAct: readActivation(config, 'hidden_act', 'silu'),
    layerNormEpsilon: config.number('layer_norm_epsilon', { default: 1e-5, min: 0 }),
    // transformers carries `rms_norm` in the config but normalises whatever it says.
    useRmsNorm: true,
    chunkSize: config.integer('chunk_size', { default: 256, ...SIZE }),
    timeStepLimit: config.numberPair('time_step_limit', [0, Number.POSITIVE_INFINITY]),
    tieWordEmbeddings: config.boolean('tie_word_embeddings', { default: false }),
    eosTokenIds: readTokenIds(json, 'eos_token_id', FILE),
  });
}

/** Defaults are those of mamba_ssm's MambaConfig and Mamba2 module. */
function readOriginalConfig(config: ConfigReader, json: JsonObject): Mamba2Config {
  const ssm = config.section('ssm_cfg') ?? new ConfigReader({}, FILE);
  const layer = ssm.string('layer', { default: 'Mamba1' });
  if (layer !== 'Mamba2') unsupported('ssm_cfg.layer', layer, 'Mamba2');
  if (!config.boolean('rms_norm', { default: true })) unsupported('rms_norm', false, 'true');
  const intermediate = config.integer('d_intermediate', { default: 0 });
  if (intermediate !== 0) unsupported('d_intermediate', intermediate, '0');
  const attentionLayers = getOwn(json, 'attn_layer_idx');
  if (Array.isArray(attentionLayers) && attentionLayers.length > 0) {
    unsupported('attn_layer_idx', `[${attentionLayers.join(', ')}]`, 'an empty list');
  }
  if (ssm.boolean('D_has_hdim', { default: false })) unsupported('ssm_cfg.D_has_hdim', true, 'false');
  const hiddenSize = config.integer('d_model', SIZE);
  const intermediateSize = wholeProduct(ssm.number('expand', { default: 2, min: 0 }), hiddenSize, 'ssm_cfg.expand');
  const ssmSize = ssm.integer('d_ssm', { default: intermediateSize, ...SIZE });
  if (ssmSize !== intermediateSize) unsupported('ssm_cfg.d_ssm', ssmSize, `${intermediateSize} (expand times d_model)`);
  const headDim = ssm.integer('headdim', { default: 64, ...SIZE });
  const multiple = config.integer('pad_vocab_size_multiple', { default: 8, ...SIZE });
  return checkedMixer(FILE, {
    architecture: 'Mamba2ForCausalLM',
    vocabSize: Math.ceil(config.integer('vocab_size', SIZE) / multiple) * multiple,
    hiddenSize,
    numHiddenLayers: config.integer('n_layer', SIZE),
    stateSize: ssm.integer('d_state', { default: 128, ...SIZE }),
    convKernel: ssm.integer('d_conv', { default: 4, ...SIZE }),
    intermediateSize,
    nGroups: ssm.integer('ngroups', { default: 1, ...SIZE }),
    numHeads: wholeProduct(1 / headDim, intermediateSize, 'ssm_cfg.headdim'),
    headDim,
    useBias: ssm.boolean('bias', { default: false }),
    useConvBias: ssm.boolean('conv_bias', { default: true }),
    hiddenAct: 'silu',
    layerNormEpsilon: config.number('norm_epsilon', { default: 1e-5, min: 0 }),
    useRmsNorm: ssm.boolean('rmsnorm', { default: true }),
    normBeforeGate: ssm.boolean('norm_before_gate', { default: false }) || undefined,
    chunkSize: ssm.integer('chunk_size', { default: 256, ...SIZE }),
    timeStepLimit: ssm.numberPair('dt_limit', [0, Number.POSITIVE_INFINITY]),
    tieWordEmbeddings: config.boolean('tie_embeddings', { default: true }),
    eosTokenIds: readTokenIds(json, 'eos_token_id', FILE),
  });
}

function wholeProduct(factor: number, size: number, key: string): number {
  const product = Math.round(factor * size);
  if (Math.abs(product - factor * size) > 1e-6 || product < 1) {
    throw new ConfigError(
      `${FILE}: '${key}' makes ${factor * size} of ${size}, expected a whole number of at least 1.`,
    );
  }
  return product;
}

function unsupported(key: string, found: unknown, expected: string): never {
  throw new ConfigError(
    `${FILE}: '${key}' is ${String(found)}; of the original layout only ${expected} is supported.`,
    'Models with attention, MLP layers, Mamba-1 or parts of channels in that layout do not run here.',
  );
}

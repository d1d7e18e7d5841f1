import type { MlpActivation } from '../backends/contract/activations.ts';
import { ConfigReader } from '../checkpoint/json/config-reader.ts';
import type { JsonObject } from '../checkpoint/json/json.ts';
import { ConfigError } from '../errors.ts';
import { readActivation } from './config/activation-config.ts';
import { type AttentionSizes, type LayerType, type MixerConfig, readLayerTypes } from './config/hybrid-config.ts';
import { checkedMixer, SIZE } from './config/mixer-config.ts';
import { readRope } from './config/rope-config.ts';
import { readTokenIds } from './config/token-ids.ts';
import type { DecoderConfig } from './decoder-lm.ts';
import { assertLayersStored } from './stored-layers.ts';

/** config.json of a Zamba2ForCausalLM. */
export interface Zamba2Config extends DecoderConfig, AttentionSizes {
  readonly layerTypes: readonly LayerType[];
  readonly mixer: MixerConfig;
  readonly intermediateSize: number;
  readonly hiddenAct: MlpActivation;
  /** Whether mixers and feed-forward layers have biases; attention has none. */
  readonly addBiasLinear: boolean;
  /** Transformer blocks, which the hybrid layers share in turn. */
  readonly numMemBlocks: number;
  readonly useSharedAttentionAdapter: boolean;
  readonly adapterRank: number;
}

/** The mixers' norm has this epsilon whatever the config says, as in transformers. */
const MIXER_NORM_EPS = 1e-5;

/** Keys of the first layout, which Zyphra published before transformers had the model. */
const FIRST_LAYOUT = [
  'ffn_hidden_size',
  'state_size',
  'conv_dimension',
  'expansion_factor',
  'lora_rank',
  'use_shared_block_lora',
  'use_shared_attention_lora',
  'gated_linear_unit',
] as const;
/** Options that would make another model, with the only value that is supported. */
const FIRST_LAYOUT_OPTIONS = {
  gated_linear_unit: true,
  use_shared_block_lora: true,
  use_low_rank_mamba_proj: false,
  ft_lora: false,
} as const;
/** Names of weights that only the first layout has. */
const FIRST_LAYOUT_WEIGHTS = /^model\.(blocks|mamba_layers|linear_layers)\.\d+\./;

/**
 * Defaults are those of transformers' Zamba2Config. The first layout's keys count where their successors are absent.
 * @param stored names of the checkpoint's tensors.
 */
export function readZamba2Config(json: JsonObject, stored: Iterable<string> = []): Zamba2Config {
  const config = new ConfigReader(json, 'config.json');
  const names = new Set(stored);
  refuseOfFirstLayout(config, names);
  const hiddenSize = config.integer('hidden_size', { default: 2560, ...SIZE });
  const numHiddenLayers = config.integer('num_hidden_layers', { default: 54, ...SIZE });
  // Checked before a list of that length is made.
  assertLayersStored(numHiddenLayers, names);
  const layerTypes =
    readLayerTypes(config, ['layers_block_type', 'layer_types'], ['linear_attention', 'hybrid']) ??
    readHybridLayers(config, numHiddenLayers) ??
    defaultLayers();
  if (layerTypes.length !== numHiddenLayers) {
    throw new ConfigError(
      `${config.fileName}: layers_block_type has ${layerTypes.length} layers, but num_hidden_layers is ${numHiddenLayers}.`,
    );
  }
  const addBiasLinear = config.boolean('add_bias_linear', { default: false });
  const mixer = readMixer(config, hiddenSize, addBiasLinear);
  const attention = readAttention(config, hiddenSize);
  return {
    architecture: 'Zamba2ForCausalLM',
    vocabSize: config.integer('vocab_size', { default: 32000, ...SIZE }),
    hiddenSize,
    numHiddenLayers,
    chunkSize: mixer.chunkSize,
    layerTypes,
    mixer,
    ...attention,
    intermediateSize: config.integer(['intermediate_size', 'ffn_hidden_size'], { default: 4 * hiddenSize, ...SIZE }),
    hiddenAct: readActivation(config, 'hidden_act', 'gelu'),
    addBiasLinear,
    numMemBlocks: config.integer('num_mem_blocks', { default: 1, ...SIZE }),
    useSharedAttentionAdapter: config.boolean(['use_shared_attention_adapter', 'use_shared_attention_lora'], {
      default: false,
    }),
    adapterRank: config.integer(['adapter_rank', 'lora_rank'], { default: 128, ...SIZE }),
    normEps: config.number('rms_norm_eps', { default: 1e-5, min: 0 }),
    rope: usesRope(config) ? readRope(config, attention.attentionHeadDim) : undefined,
    tieWordEmbeddings: config.boolean('tie_word_embeddings', { default: true }),
    eosTokenIds: readTokenIds(json, 'eos_token_id', config.fileName),
  };
}

function readMixer(config: ConfigReader, hiddenSize: number, useBias: boolean): MixerConfig {
  const expand = config.number(['mamba_expand', 'expansion_factor'], { default: 2, min: 0 });
  const intermediateSize = Math.floor(expand * hiddenSize);
  const numHeads = config.optionalInteger('n_mamba_heads', SIZE) ?? headsOfFirstLayout(config, intermediateSize);
  return checkedMixer(config.fileName, {
    intermediateSize,
    numHeads,
    headDim: Math.floor(intermediateSize / numHeads),
    ssmStateSize: config.integer(['mamba_d_state', 'state_size'], { default: 64, ...SIZE }),
    convKernelSize: config.integer(['mamba_d_conv', 'conv_dimension'], { default: 4, ...SIZE }),
    nGroups: config.integer('mamba_ngroups', { default: 1, ...SIZE }),
    chunkSize: config.integer('chunk_size', { default: 256, ...SIZE }),
    // transformers' convolution has a bias whatever `use_conv_bias` says.
    useConvBias: true,
    useBias,
    activation: 'silu',
    rmsNormEps: MIXER_NORM_EPS,
    // Null in most configs. The other time-step fields are for training.
    timeStepLimit: config.numberPair('time_step_limit', [0, Number.POSITIVE_INFINITY]),
  });
}

/** The first layout gives columns of a head instead of heads; without either there are as many as transformers has. */
function headsOfFirstLayout(config: ConfigReader, intermediateSize: number): number {
  if (!FIRST_LAYOUT.some((key) => config.has(key)) && !config.has('mamba_headdim')) return 8;
  const headDim = config.integer('mamba_headdim', { default: 64, ...SIZE });
  if (intermediateSize % headDim === 0) return intermediateSize / headDim;
  throw new ConfigError(
    `${config.fileName}: mixer heads of 'mamba_headdim' ${headDim} do not make the intermediate size of ${intermediateSize}.`,
  );
}

/** @throws ConfigError that names the key of an option that is not supported. */
function refuseOfFirstLayout(config: ConfigReader, stored: Iterable<string>): void {
  for (const [key, known] of Object.entries(FIRST_LAYOUT_OPTIONS)) {
    const found = config.optionalBoolean(key);
    if (found === undefined || found === known) continue;
    throw new ConfigError(
      `${config.fileName}: '${key}' is ${found}; of Zamba2's first layout only ${known} is supported.`,
      'Use a revision of the model that transformers reads.',
    );
  }
  const weight = [...stored].find((name) => FIRST_LAYOUT_WEIGHTS.test(name));
  if (weight === undefined) return;
  const key = FIRST_LAYOUT.find((name) => config.has(name)) ?? 'layers_block_type';
  throw new ConfigError(
    `${config.fileName}: '${key}' is of Zamba2's first layout, and so are the weights, such as '${weight}', which are not read.`,
    'Use the current revision of the repository.',
  );
}

/** The layers by the numbers of those with a transformer, where nothing lists them all. */
function readHybridLayers(config: ConfigReader, numHiddenLayers: number): LayerType[] | undefined {
  const isLayer = (i: unknown) => typeof i === 'number' && Number.isInteger(i) && i >= 0 && i < numHiddenLayers;
  const hybrids = config.optionalList<number>('hybrid_layer_ids', isLayer, 'a list of layer numbers');
  if (hybrids === undefined) return undefined;
  const layers: LayerType[] = Array.from({ length: numHiddenLayers }, () => 'linear_attention');
  for (const i of hybrids) layers[i] = 'hybrid';
  return layers;
}

/** Heads span the hidden states and the embeddings side by side. */
function readAttention(config: ConfigReader, hiddenSize: number): AttentionSizes {
  const numAttentionHeads = config.integer('num_attention_heads', { default: 32, ...SIZE });
  const numKeyValueHeads = config.integer('num_key_value_heads', { default: numAttentionHeads, ...SIZE });
  if ((2 * hiddenSize) % numAttentionHeads !== 0 || numAttentionHeads % numKeyValueHeads !== 0) {
    throw new ConfigError(
      `${config.fileName}: ${numAttentionHeads} query and ${numKeyValueHeads} key-value heads do not divide ${2 * hiddenSize} columns.`,
    );
  }
  return { numAttentionHeads, numKeyValueHeads, attentionHeadDim: (2 * hiddenSize) / numAttentionHeads };
}

function usesRope(config: ConfigReader): boolean {
  const uses = config.boolean('use_mem_rope', { default: false });
  const isLong = config.boolean('use_long_context', { default: false });
  // Version 4 of transformers raises the base at every load, and saves the raised one; version 5 takes it as it is.
  if (uses && isLong && !config.has('rope_parameters')) {
    throw new ConfigError(
      `${config.fileName}: 'use_long_context' is true, which versions of transformers compute differently.`,
      "Set it to false and give the frequencies' base as 'rope_theta': base * 8^(d / (d - 2)) for heads of d columns.",
    );
  }
  return uses;
}

/** The layers of Zamba2-2.7B. */
function defaultLayers(): LayerType[] {
  const mixers = (count: number): LayerType[] => Array.from({ length: count }, () => 'linear_attention');
  const sevenTimes = Array.from({ length: 7 }, (): LayerType[] => [...mixers(5), 'hybrid']).flat();
  return [...mixers(1), ...sevenTimes, ...mixers(4), 'hybrid', ...mixers(3), 'hybrid', ...mixers(2)];
}

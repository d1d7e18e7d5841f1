import type { MlpActivation } from '../backends/contract/activations.ts';
import type { RoutingOptions } from '../backends/contract/experts.ts';
import { ConfigReader } from '../checkpoint/json/config-reader.ts';
import { isJsonObject, type JsonObject } from '../checkpoint/json/json.ts';
import { ConfigError } from '../errors.ts';
import { readActivation } from './config/activation-config.ts';
import {
  type AttentionSizes,
  type LayerType,
  type MixerConfig,
  readAttentionSizes,
  readLayerTypes,
} from './config/hybrid-config.ts';
import { checkedMixer, SIZE } from './config/mixer-config.ts';
import { readTokenIds } from './config/token-ids.ts';
import type { DecoderConfig } from './decoder-lm.ts';

/** config.json of a NemotronHForCausalLM, or of a NemotronHPuzzleForCausalLM, whose layers have sizes of their own. */
export interface NemotronHConfig extends DecoderConfig, NemotronHLayerConfig {
  readonly layerTypes: readonly LayerType[];
  readonly mlpHiddenAct: MlpActivation;
  readonly mlpBias: boolean;
  /** Inner sizes of the feed-forward layers, in their order. */
  readonly intermediateSizes: readonly number[];
  /** What each layer is made of, where `block_configs` says so. The model's own entries are those of the first layers then. */
  readonly layers: readonly NemotronHLayerConfig[] | undefined;
  /** Layers that guess further tokens, where they are asked for. */
  readonly predictor?: NemotronHPredictorConfig | undefined;
}

/** Layers for multi-token prediction: what the model has of the same names, for these. */
export type NemotronHPredictorConfig = Pick<NemotronHConfig, 'layerTypes' | 'intermediateSizes' | 'layers'>;

/** Sizes and options of a layer's part, whichever it has. */
export interface NemotronHLayerConfig extends AttentionSizes {
  /** Keys that a token sees at most, its own and those before it; undefined: all. */
  readonly slidingWindow: number | undefined;
  readonly mixer: MixerConfig;
  readonly moe: NemotronHMoeConfig;
}

/** Sizes and routing of the mixtures of experts. */
export interface NemotronHMoeConfig {
  readonly numExperts: number;
  /** Inner size of one expert. */
  readonly intermediateSize: number;
  readonly sharedIntermediateSize: number;
  /** Columns that the experts see; undefined: all hidden ones. */
  readonly latentSize: number | undefined;
  readonly routing: RoutingOptions;
}

const LAYER_TYPES: readonly LayerType[] = ['linear_attention', 'full_attention', 'mlp', 'moe'];

/** Kinds of layers by their letter in `hybrid_override_pattern`. */
const PATTERN: Readonly<Record<string, LayerType>> = {
  M: 'linear_attention',
  '*': 'full_attention',
  '-': 'mlp',
  E: 'moe',
};

/** Defaults are those of transformers' NemotronHConfig, and so is the precedence of older keys. */
export function readNemotronHConfig(json: JsonObject): NemotronHConfig {
  const config = new ConfigReader(json, 'config.json');
  const hiddenSize = config.integer('hidden_size', { default: 4096, ...SIZE });
  const blocks = readBlocks(config, json, 'block_configs');
  const layerTypes = blocks?.map(({ type }) => type) ?? readLayers(config);
  const firstOf = (type: LayerType) => blocks?.find((block) => block.type === type)?.config ?? config;
  const mixer = readMixer(firstOf('linear_attention'));
  return {
    architecture: 'NemotronHForCausalLM',
    vocabSize: config.integer('vocab_size', { default: 131072, ...SIZE }),
    hiddenSize,
    // The list of layers decides; `num_hidden_layers` is a leftover.
    numHiddenLayers: layerTypes.length,
    chunkSize: mixer.chunkSize,
    layerTypes,
    mixer,
    ...readAttention(firstOf('full_attention'), hiddenSize, layerTypes.includes('full_attention')),
    mlpHiddenAct: readActivation(config, 'mlp_hidden_act', 'relu2'),
    mlpBias: config.boolean('mlp_bias', { default: false }),
    intermediateSizes: blocks
      ? blocks.flatMap(({ type, config }) => (type === 'mlp' ? readIntermediateSizes(config, 1) : []))
      : readIntermediateSizes(config, layerTypes.filter((type) => type === 'mlp').length),
    moe: readMoe(firstOf('moe'), layerTypes.includes('moe')),
    layers: blocks?.map((block) => readBlock(block, hiddenSize)),
    normEps: config.number(['layer_norm_epsilon', 'rms_norm_eps'], { default: 1e-5, min: 0 }),
    tieWordEmbeddings: config.boolean('tie_word_embeddings', { default: false }),
    eosTokenIds: readTokenIds(json, 'eos_token_id', config.fileName),
  };
}

/**
 * The layers for multi-token prediction; undefined where there are none.
 * @throws ConfigError when there are several modules of them, or layers that are not supported.
 */
export function readPredictorConfig(json: JsonObject): NemotronHPredictorConfig | undefined {
  const config = new ConfigReader(json, 'config.json');
  const modules = config.integer('num_nextn_predict_layers', { default: 0, min: 0 });
  if (modules === 0) return undefined;
  if (modules > 1) {
    throw new ConfigError(
      `${config.fileName}: 'num_nextn_predict_layers' is ${modules}.`,
      'One module for multi-token prediction is supported; use another speculativeConfig.',
    );
  }
  const hiddenSize = config.integer('hidden_size', { default: 4096, ...SIZE });
  // vLLM's name of the experts' number where these layers have another than the model's.
  const own = config.has('mtp_n_routed_experts') ? { n_routed_experts: json.mtp_n_routed_experts } : {};
  const blocks = readBlocks(config, { ...json, ...own }, 'mtp_block_configs');
  const single = new ConfigReader({ ...json, ...own }, config.fileName);
  const types = () =>
    readLayerTypes(config, 'mtp_layers_block_type', LAYER_TYPES) ??
    readPattern(config, 'mtp_hybrid_override_pattern', '*E');
  const layers = blocks ?? types().map((type): Block => ({ type, config: single }));
  const layerTypes = layers.map(({ type }) => type);
  checkPredictor(layerTypes, config.fileName);
  const mlps = layers.filter(({ type }) => type === 'mlp');
  const intermediateSizes = blocks
    ? mlps.flatMap((block) => readIntermediateSizes(block.config, 1))
    : mlps.length > 0
      ? readIntermediateSizes(config, mlps.length)
      : [];
  return { layerTypes, intermediateSizes, layers: layers.map((block) => readBlock(block, hiddenSize)) };
}

/** @throws ConfigError unless these are layers that a module for multi-token prediction may have. */
function checkPredictor(layerTypes: readonly LayerType[], fileName: string): void {
  const numAttentions = layerTypes.filter((type) => type === 'full_attention').length;
  if (layerTypes.length > 0 && !layerTypes.includes('linear_attention') && numAttentions <= 1) return;
  throw new ConfigError(
    `${fileName}: the layers for multi-token prediction are [${layerTypes.join(', ')}].`,
    'Layers without mixers, of which at most one has attention, are supported; use another speculativeConfig.',
  );
}

/** Sizes of one layer. */
function readBlock({ type, config }: Block, hiddenSize: number): NemotronHLayerConfig {
  return {
    mixer: readMixer(config),
    moe: readMoe(config, type === 'moe'),
    ...readAttention(config, hiddenSize, type === 'full_attention'),
  };
}

/** A layer's kind, and the config with the layer's own entries before the model's. */
interface Block {
  readonly type: LayerType;
  readonly config: ConfigReader;
}

/** The layers of a Puzzle model, which a search has made narrower one by one; undefined where the config has none. */
function readBlocks(config: ConfigReader, json: JsonObject, key: string): Block[] | undefined {
  const entries = config.optionalList<JsonObject>(key, isJsonObject, 'a list of objects');
  const ownWindows = entries?.some((entry) => new ConfigReader(entry, config.fileName).has('sliding_window'));
  // As in vLLM: where one layer has a window of its own, the model's counts for none.
  const shared = ownWindows ? { ...json, sliding_window: null } : json;
  return entries?.map((entry, i) => {
    const where = `${config.fileName}, ${key}[${i}]`;
    const own = new ConfigReader(entry, where);
    const kind = own.string('block_type');
    const [type] = readLayerTypes(new ConfigReader({ block_type: [kind] }, where), 'block_type', LAYER_TYPES) ?? [];
    return { type, config: new ConfigReader({ ...shared, ...entry }, where) };
  });
}

function readLayers(config: ConfigReader): LayerType[] {
  const listed = readLayerTypes(config, ['layers_block_type', 'layer_types'], LAYER_TYPES);
  if (listed) return listed;
  return readPattern(config, 'hybrid_override_pattern', 'ME*-');
}

/** Kinds of layers by letters. */
function readPattern(config: ConfigReader, key: string, otherwise: string): LayerType[] {
  return [...config.string(key, { default: otherwise })].map((letter) => {
    const type = PATTERN[letter];
    if (type) return type;
    const known = Object.keys(PATTERN).join(' ');
    throw new ConfigError(`${config.fileName}: '${key}' holds '${letter}', expected ${known}.`);
  });
}

/** Sizes and options of attention. The window is checked only where there is attention. */
function readAttention(
  config: ConfigReader,
  hiddenSize: number,
  isUsed: boolean,
): Pick<NemotronHLayerConfig, keyof AttentionSizes | 'slidingWindow'> {
  return {
    ...readAttentionSizes(config, hiddenSize, { heads: 32, kvHeads: 8, headDim: 128 }),
    slidingWindow: isUsed ? config.optionalInteger('sliding_window', SIZE) : undefined,
  };
}

function readMixer(config: ConfigReader): MixerConfig {
  const numHeads = config.integer('mamba_num_heads', { default: 128, ...SIZE });
  const headDim = config.integer('mamba_head_dim', { default: 64, ...SIZE });
  return checkedMixer(config.fileName, {
    // `expand` is a leftover: the heads decide.
    intermediateSize: numHeads * headDim,
    numHeads,
    headDim,
    ssmStateSize: config.integer('ssm_state_size', { default: 128, ...SIZE }),
    convKernelSize: config.integer(['mamba_d_conv', 'conv_kernel'], { default: 4, ...SIZE }),
    nGroups: config.integer(['mamba_n_groups', 'n_groups'], { default: 8, ...SIZE }),
    chunkSize: config.integer(['mamba_chunk_size', 'chunk_size'], { default: 128, ...SIZE }),
    useConvBias: config.boolean(['mamba_conv_bias', 'use_conv_bias'], { default: true }),
    useBias: config.boolean('use_bias', { default: false }),
    activation: readActivation(config, 'mamba_hidden_act', 'silu'),
    timeStepLimit: config.numberPair(['mamba_dt_limit', 'time_step_limit'], [0, Number.POSITIVE_INFINITY]),
  });
}

/** Sizes of the feed-forward layers: one for all or, in pruned models, one for each. */
function readIntermediateSizes(config: ConfigReader, layers: number): readonly number[] {
  const isSize = (value: unknown) => typeof value === 'number' && Number.isInteger(value) && value >= 1;
  const sizes = config.isList('intermediate_size')
    ? (config.optionalList<number>('intermediate_size', isSize, 'a number, or a list of numbers') ?? [])
    : [config.integer('intermediate_size', { default: 21504, ...SIZE })];
  if (sizes.length === 1) return Array.from({ length: layers }, () => sizes[0]);
  if (sizes.length === layers) return sizes;
  throw new ConfigError(
    `${config.fileName}: 'intermediate_size' has ${sizes.length} numbers for ${layers} feed-forward layers.`,
  );
}

/** Options of experts. Their numbers are checked only in a model with experts. */
function readMoe(config: ConfigReader, isUsed: boolean): NemotronHMoeConfig {
  const least = isUsed ? 1 : 0;
  const numExperts = config.integer(['n_routed_experts', 'num_local_experts'], { default: 8, min: least });
  const numGroups = config.integer('n_group', { default: 1, min: least });
  const topKGroups = config.integer('topk_group', { default: 1, min: least });
  const topK = config.integer('num_experts_per_tok', { default: 2, min: least });
  if (
    isUsed &&
    (numExperts % numGroups !== 0 || topKGroups > numGroups || topK > (numExperts / numGroups) * topKGroups)
  ) {
    throw new ConfigError(
      `${config.fileName}: ${topK} of ${numExperts} experts can't come from ${topKGroups} of ${numGroups} groups.`,
    );
  }
  return {
    numExperts,
    intermediateSize: config.integer('moe_intermediate_size', { default: 7688, min: least }),
    sharedIntermediateSize: config.integer('moe_shared_expert_intermediate_size', { default: 7688, min: least }),
    latentSize: config.optionalInteger('moe_latent_size', SIZE),
    routing: {
      topK,
      scoring: 'sigmoid',
      numGroups,
      topKGroups,
      renormalize: config.boolean('norm_topk_prob', { default: true }),
      scale: config.number('routed_scaling_factor', { default: 1 }),
    },
  };
}

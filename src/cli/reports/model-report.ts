import { ReferenceBackend } from '../../backends/reference/reference-backend.ts';
import { Checkpoint } from '../../checkpoint/checkpoint.ts';
import type { ModelFiles } from '../../checkpoint/files/model-files.ts';
import { isUrl } from '../../checkpoint/net/urls.ts';
import { singleProcess } from '../../distributed/process-group.ts';
import { chooseDType, dtypeFacts } from '../../engine/load/choose-dtype.ts';
import { chooseKvCacheDType } from '../../engine/load/choose-kv-cache-dtype.ts';
import { mostRanks } from '../../engine/load/choose-ranks.ts';
import { type AskedStates, stateStorage } from '../../engine/load/choose-state-dtype.ts';
import { endOfTextIds } from '../../engine/load/end-of-text.ts';
import { readSamplingDefaults } from '../../engine/load/generation-config.ts';
import { keptFormats } from '../../engine/ranks/devices.ts';
import { checkpointDType } from '../../engine/ranks/load-rank.ts';
import { kvTokenBytes } from '../../engine/run/kv-cache-limits.ts';
import { headerCheck } from '../../engine/weights/header-check.ts';
import { matchNames } from '../../engine/weights/load-weights.ts';
import { planStages, stageOf } from '../../engine/weights/plan-stages.ts';
import { storedFormats } from '../../engine/weights/stored-formats.ts';
import { hasOwnHead, OWN_HEAD_WARNING } from '../../engine/weights/stored-head.ts';
import { memoryByDType, memoryInStorage } from '../../engine/weights/weight-memory.ts';
import { storageInBlocks } from '../../engine/weights/weight-storage.ts';
import { Mamba2Error } from '../../errors.ts';
import { LayerContext } from '../../layers/parameters/layer-context.ts';
import { ParameterTable } from '../../layers/parameters/parameter.ts';
import type { CausalLM, LayerPart, ModelConfig, ModelDefinition } from '../../models/causal-lm.ts';
import { canPredict, defineModel } from '../../models/registry.ts';
import type { MatrixDType } from '../../tensor/block-formats.ts';
import type { StorageSetting, WeightDType } from '../../tensor/dtype.ts';
import type { KvCacheDType, KvCacheDTypeSetting } from '../../tensor/kv-cache-dtype.ts';
import { FLOAT32_STATES, type StateDType } from '../../tensor/state-dtype.ts';
import { elementCount } from '../../tensor/tensor.ts';
import { ChatTemplate, type TemplateKind } from '../../text/chat/chat-template.ts';
import { TextTokenizer } from '../../text/tokenizer.ts';
import { countParameters, type ParameterKind } from './parameter-kinds.ts';
import { bytesOfStates, type HeldDTypes, type StageNeed, stageNeed } from './stage-memory.ts';
import { type StoredKind, storedKinds } from './stored-kinds.ts';

/** Contents of a model's files, as told by its config and the headers of its weights. */
export interface ModelReport {
  /** The folder or the GGUF file: a path or a URL. */
  readonly folder: string;
  readonly config: ModelConfig;
  readonly parameters: Readonly<Record<ParameterKind | 'total', number>>;
  /** Whether it has layers for multi-token prediction besides, which no figure here counts. */
  readonly mtp: boolean;
  /** Parts of each layer. */
  readonly layerMap: readonly (readonly LayerPart[])[];
  /** Dtype of SSM states; those of convolutions are float32. */
  readonly stateDType: StateDType;
  /** Bytes of one sequence's state, over all layers. */
  readonly stateBytes: { readonly conv: number; readonly ssm: number; readonly total: number };
  /** Dtype of keys and values. null: no layer has attention. */
  readonly kvCacheDType: KvCacheDType | null;
  /** Bytes of the keys and values of one token, over all attention layers. */
  readonly kvBytesPerToken: number;
  readonly weightBytes: Readonly<Record<WeightDType, number>>;
  /** Dtype that `auto` takes on the processor of this machine: of most matrices, where they stay in blocks. */
  readonly autoDType: MatrixDType;
  /** Bytes of weights in memory with it. */
  readonly autoWeightBytes: number;
  /** What each stage would hold, where several were asked for. */
  readonly stages: readonly StageNeed[];
  readonly files: {
    readonly names: readonly string[];
    readonly bytes: number;
    /** Values per dtype of the files. */
    readonly dtypes: Readonly<Record<string, number>>;
    /** Values per dtype, and bytes, for each kind of parameters. */
    readonly kinds: Readonly<Partial<Record<ParameterKind, StoredKind>>>;
  };
  /** How a tool has quantised the weights. null: none has. */
  readonly quantization: { readonly method: string } | null;
  readonly tokenizer: TokenizerReport | null;
  readonly chatTemplate: boolean;
  /** `completion`: the model was not trained on conversations. null: it has no template. */
  readonly chatTemplateKind: TemplateKind | null;
  /** Why the model will not load. */
  readonly problems: readonly string[];
  /** Problems that do not keep it from loading. */
  readonly warnings: readonly string[];
}

/** Facts from a tokenizer's files. */
export interface TokenizerReport {
  readonly vocabSize: number;
  readonly bosTokenId: number | null;
  readonly eosTokenId: number | null;
}

/**
 * Inspects a model without reading its weights, and closes its files. Rejects where config or headers themselves can't
 * be read.
 */
export async function inspectModel(
  files: ModelFiles,
  pipelineParallelSize = 1,
  asked: Pick<AskedStates, 'stateDtype'> & { readonly kvCacheDtype?: KvCacheDTypeSetting | undefined } = {},
): Promise<ModelReport> {
  const checkpoint = await Checkpoint.open(files);
  try {
    const { quantization } = checkpoint;
    const problems = quantization?.problem === undefined ? [] : [quantization.problem.message];
    const isUnreadable = problems.length > 0;
    const asWritten = defineModel(checkpoint.config, checkpoint.names());
    // Codes without their scales say nothing about the head.
    const untieHead =
      !isUnreadable && (await hasOwnHead(asWritten, checkpoint, { firstBlockOnly: isUrl(files.location) }));
    const definition = defineModel(checkpoint.config, checkpoint.names(), { untieHead });
    const model = createModel(definition, checkpoint);
    const table = new ParameterTable(model);
    const counts = countParameters(table);
    const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
    if (!isUnreadable) await noting(problems, () => matchNames(table, definition, checkpoint));
    const tokenizer = await noting(problems, () =>
      TextTokenizer.fromFiles(checkpoint.files, definition.config.vocabSize),
    );
    await noting(problems, () => tokenizer?.assertFits(definition.config.vocabSize));
    const generationConfig = checkpoint.generationConfig ?? {};
    const { config } = definition;
    const storage = await noting(problems, () => stateStorage(checkpoint.config, asked));
    const { dtype: stateDType } = storage ?? FLOAT32_STATES;
    const kvCacheDType = chooseKvCacheDType({ definition, checkpoint }, asked);
    const held = { stateDType, kvCacheDType: kvCacheDType ?? 'float32' };
    const sources = { config, json: checkpoint.config, generationConfig, tokenizer };
    const eosTokenIds = (await noting(problems, () => endOfTextIds(sources))) ?? config.eosTokenIds;
    await noting(problems, () => readSamplingDefaults(generationConfig));
    const template = await noting(problems, () => ChatTemplate.fromFiles(checkpoint.files));
    if (template?.problem) problems.push(template.problem.message);
    const isUsable = template !== undefined && template.problem === undefined;
    return {
      folder: files.location,
      config: { ...config, eosTokenIds },
      parameters: { total, ...counts },
      mtp: canPredict(checkpoint.config, checkpoint.names()),
      layerMap: model.layerMap,
      stateDType,
      stateBytes: describeStates(model, stateDType),
      kvCacheDType: kvCacheDType ?? null,
      kvBytesPerToken: kvTokenBytes(model.kvCacheSizes, kvCacheDType),
      weightBytes: memoryByDType(table),
      ...autoStorage(definition, checkpoint),
      stages: describeStages(definition, checkpoint, pipelineParallelSize, held),
      files: { ...(await describeFiles(checkpoint)), kinds: storedKinds(table, definition, checkpoint) },
      quantization: quantization ? { method: quantization.method } : null,
      tokenizer: tokenizer ? describeTokenizer(tokenizer) : null,
      chatTemplate: isUsable,
      chatTemplateKind: isUsable ? template.kind : null,
      problems,
      warnings: [
        ...(quantization?.warnings ?? []),
        ...(untieHead ? [OWN_HEAD_WARNING] : []),
        ...(definition.note === undefined ? [] : [definition.note]),
      ],
    };
  } finally {
    await checkpoint.close();
  }
}

/** Storage with dtype `auto` on the processor. */
function autoStorage(
  definition: ModelDefinition,
  checkpoint: Checkpoint,
): Pick<ModelReport, 'autoDType' | 'autoWeightBytes'> {
  const dtype = autoDType(definition, checkpoint);
  return {
    autoDType: storageOf(definition, checkpoint, dtype).matrixDType,
    autoWeightBytes: memoryInStorage(new ParameterTable(createModel(definition, checkpoint, dtype))),
  };
}

/** @param size number of stages, which share the weights. */
function autoDType(definition: ModelDefinition, checkpoint: Checkpoint, size = 1): StorageSetting {
  const ranks = size * mostRanks(definition.config.numHeads, { stages: size });
  return chooseDType('auto', dtypeFacts(checkpoint, definition, 'cpu', ranks)).dtype;
}

/** @throws ShardingError where the model has fewer layers. */
function describeStages(
  definition: ModelDefinition,
  checkpoint: Checkpoint,
  size: number,
  held: HeldDTypes,
): StageNeed[] {
  if (size === 1) return [];
  const storage = storageOf(definition, checkpoint, autoDType(definition, checkpoint, size));
  return planStages(definition, storage, size).stages.map((stage) =>
    stageNeed(stageOf(definition, storage, stage), stage, held),
  );
}

function storageOf(definition: ModelDefinition, checkpoint: Checkpoint, dtype: StorageSetting) {
  const formats = storedFormats(checkpoint, definition, keptFormats('cpu'));
  return storageInBlocks(dtype, checkpointDType(checkpoint), formats);
}

/** Makes the model without its weights. Where these can't be read, that is why they seem not to be the config's. */
function createModel(definition: ModelDefinition, checkpoint: Checkpoint, dtype: StorageSetting = 'float32'): CausalLM {
  const { weightDType, quantConfig } = storageOf(definition, checkpoint, dtype);
  try {
    return definition.create(
      new LayerContext(new ReferenceBackend(), singleProcess, weightDType, {
        check: headerCheck(definition, checkpoint),
      }),
      quantConfig,
    );
  } catch (error) {
    throw checkpoint.quantization?.problem ?? error;
  }
}

/** Runs one check, whose failure does not prevent the rest of the report. */
async function noting<T>(problems: string[], check: () => T): Promise<Awaited<T> | undefined> {
  try {
    return await check();
  } catch (error) {
    if (!(error instanceof Mamba2Error)) throw error;
    problems.push(error.message);
    return undefined;
  }
}

function describeStates(model: CausalLM, dtype: StateDType): ModelReport['stateBytes'] {
  const [conv, ssm] = [bytesOfStates(model, 'conv', 'float32'), bytesOfStates(model, 'ssm', dtype)];
  return { conv, ssm, total: conv + ssm };
}

async function describeFiles(checkpoint: Checkpoint): Promise<Omit<ModelReport['files'], 'kinds'>> {
  const dtypes: Record<string, number> = {};
  const names = new Set<string>();
  for (const name of checkpoint.names()) {
    const { dtype, shape, file } = checkpoint.info(name);
    dtypes[dtype] = (dtypes[dtype] ?? 0) + elementCount(shape);
    names.add(file);
  }
  let bytes = 0;
  for (const name of names) bytes += (await checkpoint.files.open(name))?.size ?? 0;
  return { names: [...names], bytes, dtypes };
}

function describeTokenizer({ vocabSize, bosTokenId, eosTokenId }: TextTokenizer): TokenizerReport {
  return { vocabSize, bosTokenId: bosTokenId ?? null, eosTokenId: eosTokenId ?? null };
}

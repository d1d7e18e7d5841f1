import type { CpuKernels } from '../backends/cpu/kernels/product-forms.ts';
import { ReferenceBackend } from '../backends/reference/reference-backend.ts';
import { Checkpoint } from '../checkpoint/checkpoint.ts';
import type { JsonObject } from '../checkpoint/json/json.ts';
import type { ProgressCallback } from '../checkpoint/net/progress.ts';
import { type ProcessGroup, singleProcess } from '../distributed/process-group.ts';
import { chooseDType } from '../engine/load/choose-dtype.ts';
import { kvCacheDTypeOf } from '../engine/load/choose-kv-cache-dtype.ts';
import { type AskedStates, stateStorage } from '../engine/load/choose-state-dtype.ts';
import type { EngineContext } from '../engine/load/engine-options.ts';
import { loadModel } from '../engine/load/load-model.ts';
import type { Device } from '../engine/ranks/devices.ts';
import { isGpu, keptFormats } from '../engine/ranks/devices.ts';
import type { Job } from '../engine/ranks/job.ts';
import { checkpointDType } from '../engine/ranks/load-rank.ts';
import { storedFormats } from '../engine/weights/stored-formats.ts';
import { storageInBlocks } from '../engine/weights/weight-storage.ts';
import { LayerContext } from '../layers/parameters/layer-context.ts';
import { isMatrixRole, type ParameterRole, ParameterTable } from '../layers/parameters/parameter.ts';
import type { CausalLM, ModelConfig } from '../models/causal-lm.ts';
import { defineModel } from '../models/registry.ts';
import { type MatrixDType, matrixRowBytes } from '../tensor/block-formats.ts';
import type { DTypeSetting, StorageSetting, WeightDType } from '../tensor/dtype.ts';
import type { KvCacheDTypeSetting } from '../tensor/kv-cache-dtype.ts';
import type { MatmulPrecision } from '../tensor/matmul-precision.ts';
import { type StateDType, stateBytes } from '../tensor/state-dtype.ts';
import { elementCount } from '../tensor/tensor.ts';
import { loadSynthetic } from './load-synthetic.ts';

/** A model to measure: its folder, or a config that gets synthetic weights. */
export type BenchSource = { readonly name: string } & ({ readonly folder: string } | { readonly config: JsonObject });

/** Options of loading it. */
export interface BenchLoad extends AskedStates {
  readonly dtype: DTypeSetting;
  readonly device: Device;
  readonly kvCacheDtype?: KvCacheDTypeSetting | undefined;
  readonly cpuKernels?: CpuKernels | undefined;
  readonly matmulPrecision?: MatmulPrecision | undefined;
  readonly tensorParallelSize: number;
  /** Stages of so many ranks each. Default: 1. */
  readonly pipelineParallelSize?: number | undefined;
  /** Number of sequences that run at the same time. */
  readonly slots: number;
  readonly stepTokens: number;
  /** Tokens of the longest sequence. */
  readonly maxModelLen: number;
  readonly onProgress: ProgressCallback;
  readonly signal: AbortSignal;
  /** Processes that share the model. Default: this one alone. */
  readonly job?: Job | undefined;
}

/** Bytes that a model moves through memory, by its shapes. */
export interface ModelBytes {
  /** Bytes of all weights in storage. */
  readonly weights: number;
  /** Bytes of the weights that every decode step reads. Of an embedding table that is not also the head, it reads a row. */
  readonly weightsRead: number;
  /** Bytes of all experts, which are not among these, and the share of them that a token visits. */
  readonly experts: { readonly weights: number; readonly visited: number };
  /** Bytes of one sequence's state. */
  readonly state: number;
  /** Bytes on all ranks together: a group that several ranks need is held by each. */
  readonly held: { readonly weights: number; readonly state: number };
}

/**
 * Operations of a model, by its shapes. A product and its addition are two operations. Convolution, norms, gates
 * and collectives are not counted: together they are some percent.
 */
export interface ModelOperations {
  /** Products with the layers' matrices, per token; of experts, those that the token visits. */
  readonly products: number;
  /** Products with the head, per row of logits. */
  readonly head: number;
  /** Operations of the scan per token: 5 P N per head and layer (h decays; x B and h C are multiplied and added). */
  readonly scan: number;
}

/** Resident size of the whole process, in bytes. */
export interface MemoryUse {
  /** Bytes before the model was loaded. */
  readonly before: number;
  /** Bytes after it was loaded. */
  readonly loaded: number;
  /** The largest until then, other models before it included. */
  readonly peakWhileLoading: number;
  /** Bytes beyond the weights and the states, keys and values of all sequences that can run at the same time. */
  readonly overhead: number;
}

/** A loaded model, ready to be measured. */
export interface BenchTarget {
  readonly config: ModelConfig;
  readonly context: EngineContext;
  readonly loadSeconds: number;
  /** Dtype of the matrices; for `auto`, the one that was taken. */
  readonly dtype: MatrixDType;
  readonly bytes: ModelBytes;
  readonly memory: MemoryUse;
  readonly operations: ModelOperations;
}

/** Loads the model under the clock. */
export async function loadTarget(source: BenchSource, load: BenchLoad): Promise<BenchTarget> {
  const before = process.memoryUsage.rss();
  const target = await ('folder' in source
    ? loadFolder(source.folder, load)
    : loadMadeUp(source.name, source.config, load));
  const loaded = process.memoryUsage.rss();
  const { weights, state } = target.bytes.held;
  const { kvCache } = target.context.executor.stateFootprint;
  const keys = kvCache ? kvCache.numBlocks * kvCache.blockBytes : 0;
  const overhead = loaded - before - weights - load.slots * state - keys;
  return { ...target, memory: { before, loaded, peakWhileLoading: peakMemory(), overhead } };
}

/** Largest resident size of the process so far, in bytes. */
export function peakMemory(): number {
  // Node counts it in KiB.
  return process.resourceUsage().maxRSS * 1024;
}

type LoadedTarget = Omit<BenchTarget, 'memory'>;

async function loadFolder(folder: string, load: BenchLoad): Promise<LoadedTarget> {
  const checkpoint = await Checkpoint.open(folder);
  await checkpoint.close();
  const begin = performance.now();
  const { slots: maxNumSeqs, stepTokens: maxNumBatchedTokens, ...options } = load;
  const loaded = await loadModel(folder, { ...options, maxNumSeqs, maxNumBatchedTokens });
  const loadSeconds = secondsSince(begin);
  const { config, context, device, storage: dtype } = loaded;
  const definition = defineModel(checkpoint.config, checkpoint.names());
  const formats = storedFormats(checkpoint, definition, keptFormats(device.device));
  const stored = storage(checkpoint.config, { ...load, dtype }, checkpointDType(checkpoint), formats);
  return { config, context, ...stored, loadSeconds };
}

async function loadMadeUp(name: string, json: JsonObject, load: BenchLoad): Promise<LoadedTarget> {
  const { device, cpuKernels, matmulPrecision, slots, tensorParallelSize, stepTokens, maxModelLen } = load;
  // There are no files from which `auto` could tell how large the model is.
  const chosen = device === 'auto' ? 'cpu' : device;
  const { dtype } = chooseDType(load.dtype, {
    device: chosen,
    ranks: tensorParallelSize,
    shapes: shapesOf(json),
    stored: 'float32',
    areBlocksKept: false,
  });
  const stored = storage(json, { ...load, dtype }, 'float32');
  const states = stateStorage(json, load);
  const kvCacheDtype = kvCacheDTypeOf(load.kvCacheDtype);
  const limits = { slots, maxModelLen, kvCacheDtype };
  const options = { name, device: chosen, dtype, states, cpuKernels, matmulPrecision, ...limits, checkFinite: false };
  const begin = performance.now();
  const executor = await loadSynthetic({ config: json, seed: 0 }, tensorParallelSize, options, load);
  const { config } = defineModel(json);
  const context = {
    executor,
    tokenizer: undefined,
    eosTokenIds: [],
    vocabSize: config.vocabSize,
    maxNumSeqs: slots,
    maxNumBatchedTokens: stepTokens,
  };
  return { config, context, ...stored, loadSeconds: secondsSince(begin) };
}

function storage(
  json: JsonObject,
  load: Omit<BenchLoad, 'dtype'> & { readonly dtype: StorageSetting },
  storedDType: WeightDType,
  formats: ReadonlyMap<string, MatrixDType> = new Map(),
): Pick<BenchTarget, 'dtype' | 'bytes' | 'operations'> {
  const { dtype: asked, device, tensorParallelSize: size } = load;
  const stateDType = stateStorage(json, load).dtype;
  const { weightDType, matrixDType: dtype, quantConfig } = storageInBlocks(asked, storedDType, formats);
  const modelOn = (group: ProcessGroup) =>
    defineModel(json).create(new LayerContext(new ReferenceBackend(), group, weightDType), quantConfig);
  const model = modelOn(singleProcess);
  const table = new ParameterTable(model);
  const heldBytes = (part: ParameterTable) =>
    part.names().reduce((sum, name) => sum + weightBytesOf(part, name, device), 0);
  const having = (...roles: readonly ParameterRole[]) =>
    table.names().filter((name) => roles.includes(table.role(name)));
  const bytesOf = (some: readonly string[]) => some.reduce((sum, name) => sum + weightBytesOf(table, name, device), 0);
  const weights = heldBytes(table);
  const experts = { weights: bytesOf(having('expert')), visited: visitedExperts(json) };
  const state = bytesOfStates(model, stateDType);
  const ranks = Array.from({ length: size }, (_, rank) => modelOn({ ...singleProcess, rank, size }));
  const held = {
    weights: ranks.map((rank) => new ParameterTable(rank)).reduce((sum, part) => sum + heldBytes(part), 0),
    state: ranks.reduce((sum, rank) => sum + bytesOfStates(rank, stateDType), 0),
  };
  const count = (some: readonly string[]) => some.reduce((sum, name) => sum + elementCount(table.shape(name)), 0);
  const operations = {
    products: 2 * count(having('projection', 'router')) + 2 * experts.visited * count(having('expert')),
    head: 2 * count(having('head')),
    scan: 5 * model.stateShapes.reduce((sum, { ssm }) => sum + elementCount(ssm), 0),
  };
  const weightsRead = weights - bytesOf(having('embedding')) - experts.weights;
  return { dtype, bytes: { weights, weightsRead, experts, state, held }, operations };
}

/** Shapes of a model's weights. */
function shapesOf(json: JsonObject): (readonly number[])[] {
  const model = defineModel(json).create(new LayerContext(new ReferenceBackend(), singleProcess, 'float32'));
  const table = new ParameterTable(model);
  return table.names().map((name) => table.shape(name));
}

/** The part of a config's experts that a token visits. */
function visitedExperts(json: JsonObject): number {
  const count = Number(json.num_local_experts ?? json.n_routed_experts ?? 0);
  return count === 0 ? 0 : Number(json.num_experts_per_tok) / count;
}

function bytesOfStates({ stateShapes }: CausalLM, dtype: StateDType): number {
  return stateShapes.reduce(
    (sum, { conv, ssm }) => sum + 4 * elementCount(conv) + stateBytes(dtype) * elementCount(ssm),
    0,
  );
}

/** Bytes of this rank's part of a weight. */
function weightBytesOf(table: ParameterTable, name: string, device: BenchLoad['device']): number {
  const { rows, columns } = table.shardSize(name);
  if (!isMatrixRole(table.role(name))) return 4 * rows * columns;
  const dtype = table.dtype(name);
  // A row of a stack is a whole matrix.
  const inFeatures = Math.min(columns, table.shape(name).at(-1) ?? columns);
  // The processor widens float16; a GPU keeps its two bytes.
  const kept = isGpu(device) && dtype === 'float16' ? 'bfloat16' : dtype;
  return ((rows * columns) / inFeatures) * matrixRowBytes(kept, inFeatures);
}

function secondsSince(begin: number): number {
  return (performance.now() - begin) / 1000;
}

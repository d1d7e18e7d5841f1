import { ReferenceBackend } from '../backends/reference/reference-backend.ts';
import { Checkpoint } from '../checkpoint/checkpoint.ts';
import type { JsonObject } from '../checkpoint/json.ts';
import type { ProgressCallback } from '../checkpoint/progress.ts';
import { singleProcess } from '../distributed/process-group.ts';
import { type Device, weightStorage } from '../engine/devices.ts';
import type { EngineContext } from '../engine/engine-options.ts';
import { loadModel } from '../engine/load-model.ts';
import { checkpointDType } from '../engine/load-rank.ts';
import { loadSynthetic } from '../engine/synthetic-model.ts';
import { LayerContext } from '../layers/layer-context.ts';
import { ParameterTable } from '../layers/parameter.ts';
import type { ModelConfig } from '../models/causal-lm.ts';
import { defineModel } from '../models/registry.ts';
import type { WeightDType } from '../tensor/dtype.ts';
import { weightBytes } from '../tensor/quantize.ts';
import { elementCount } from '../tensor/tensor.ts';
import { memoryByDType } from './parameter-kinds.ts';

/** What to measure: a model's folder, or a config whose weights are made up. */
export type BenchSource = { readonly name: string } & ({ readonly folder: string } | { readonly config: JsonObject });

/** How to load it. */
export interface BenchLoad {
  readonly dtype: string;
  readonly device: Device;
  readonly tensorParallelSize: number;
  /** Sequences that run at once. */
  readonly slots: number;
  readonly stepTokens: number;
  readonly onProgress: ProgressCallback;
  readonly signal: AbortSignal;
}

/** What a model moves through memory, as its shapes tell. */
export interface ModelBytes {
  /** Of all weights in storage. */
  readonly weights: number;
  /** Of the weights that a decode step reads: an embedding table that is not the head as well gives a row only. */
  readonly weightsRead: number;
  /** Of one sequence's state. */
  readonly state: number;
}

/** A loaded model, ready to be measured. */
export interface BenchTarget {
  readonly config: ModelConfig;
  readonly context: EngineContext;
  readonly loadSeconds: number;
  /** What the matrices are stored as; of `auto`, what that meant. */
  readonly dtype: WeightDType;
  readonly bytes: ModelBytes;
}

/** Loads the model under the clock. */
export async function loadTarget(source: BenchSource, load: BenchLoad): Promise<BenchTarget> {
  return 'folder' in source ? loadFolder(source.folder, load) : loadMadeUp(source.name, source.config, load);
}

async function loadFolder(folder: string, load: BenchLoad): Promise<BenchTarget> {
  const checkpoint = await Checkpoint.open(folder);
  const stored = storage(checkpoint.config, load.dtype, checkpointDType(checkpoint));
  await checkpoint.close();
  const begin = performance.now();
  const { slots: maxNumSeqs, stepTokens: maxNumBatchedTokens, ...options } = load;
  const { config, context } = await loadModel(folder, { ...options, maxNumSeqs, maxNumBatchedTokens });
  return { config, context, ...stored, loadSeconds: secondsSince(begin) };
}

async function loadMadeUp(name: string, json: JsonObject, load: BenchLoad): Promise<BenchTarget> {
  const { dtype, device, slots, tensorParallelSize, stepTokens } = load;
  const stored = storage(json, dtype, 'float32');
  const begin = performance.now();
  const options = { name, device, dtype, slots, checkFinite: false };
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

/** Of the whole model: what ranks hold twice is not counted. */
function storage(json: JsonObject, asked: string, autoDType: WeightDType): Pick<BenchTarget, 'dtype' | 'bytes'> {
  const { weightDType, quantConfig } = weightStorage(asked, autoDType);
  const model = defineModel(json).create(new LayerContext(new ReferenceBackend(), singleProcess, weightDType));
  const table = new ParameterTable(model);
  // Every matrix follows the config or none does.
  const dtype = quantConfig?.weightDType('') ?? weightDType;
  const weights = memoryByDType(table)[dtype];
  const names = table.names();
  const lookups = names.includes('lm_head.weight') ? names.filter((name) => /(^|\.)embeddings\./.test(name)) : [];
  const unread = lookups.reduce((sum, name) => sum + matrixBytes(table.shape(name), dtype), 0);
  const state = model.stateShapes.reduce((sum, { conv, ssm }) => sum + 4 * (elementCount(conv) + elementCount(ssm)), 0);
  return { dtype, bytes: { weights, weightsRead: weights - unread, state } };
}

function matrixBytes([rows, columns]: readonly number[], dtype: WeightDType): number {
  return weightBytes(rows, columns, dtype);
}

function secondsSince(begin: number): number {
  return (performance.now() - begin) / 1000;
}

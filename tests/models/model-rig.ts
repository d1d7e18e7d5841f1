import { readFile } from 'node:fs/promises';
import type { Backend } from '../../src/backends/contract/backend.ts';
import { Checkpoint } from '../../src/checkpoint/checkpoint.ts';
import { type JsonObject, parseLenientJson } from '../../src/checkpoint/json/json.ts';
import type { ProcessGroup } from '../../src/distributed/process-group.ts';
import { createBackend } from '../../src/engine/ranks/devices.ts';
import { headerCheck } from '../../src/engine/weights/header-check.ts';
import { loadWeights, matchNames } from '../../src/engine/weights/load-weights.ts';
import type { KvCacheParams } from '../../src/layers/attention/attention.ts';
import { buildAttentionMetadata } from '../../src/layers/attention/attention-metadata.ts';
import { kvCacheShape } from '../../src/layers/attention/kv-cache-shape.ts';
import { buildMamba2Metadata, reorderBatch } from '../../src/layers/mamba/mamba2-metadata.ts';
import type { MambaCacheParams } from '../../src/layers/mamba/state-space-mixer.ts';
import { LayerContext } from '../../src/layers/parameters/layer-context.ts';
import { ParameterTable } from '../../src/layers/parameters/parameter.ts';
import { BlockwiseQuantization } from '../../src/layers/parameters/quantization.ts';
import type { CausalLM, ModelDefinition } from '../../src/models/causal-lm.ts';
import { defineModel } from '../../src/models/registry.ts';
import type { WeightDType } from '../../src/tensor/dtype.ts';
import { loadSeeded } from '../layers/mixer-rig.ts';

/** Where a rig's model comes from. All of it can be sent to another thread. */
export interface RigModel {
  /** A folder with weights, or a config whose weights are made up. */
  readonly source: { readonly folder: string } | { readonly config: JsonObject; readonly seed: number };
  readonly device: 'reference' | 'cpu';
  readonly dtype?: WeightDType | undefined;
}

/** One sequence's part in a step of a rig. */
export interface RigTokens {
  readonly slot: number;
  readonly numComputedTokens: number;
  readonly tokenIds: readonly number[];
}

const SLOTS = 4;
const BLOCK_SIZE = 8;
const BLOCKS_PER_SLOT = 16;

/** A model on one rank with slots and blocks, of which each slot has its own. */
export class ModelRig {
  readonly backend: Backend;
  readonly definition: ModelDefinition;
  readonly model: CausalLM;
  readonly #caches: readonly MambaCacheParams[];
  readonly #kvCaches: readonly KvCacheParams[];

  private constructor(backend: Backend, definition: ModelDefinition, model: CausalLM, ranks: number) {
    this.backend = backend;
    this.definition = definition;
    this.model = model;
    // As if others had used the caches before.
    const used = (shape: readonly number[]) => {
      const count = shape.reduce((a, b) => a * b, 1);
      return backend.tensor(new Float32Array(count).fill(Number.NaN), shape);
    };
    this.#caches = model.stateShapes.map(({ conv, ssm }) => ({
      convState: used([SLOTS, ...conv]),
      ssmState: used([SLOTS, ...ssm]),
    }));
    this.#kvCaches = model.kvCacheSizes.map((size) => {
      const { numKvHeads, headDim } = kvCacheShape(size, ranks);
      const shape = [SLOTS * BLOCKS_PER_SLOT, BLOCK_SIZE, numKvHeads, headDim];
      return { keyCache: used(shape), valueCache: used(shape) };
    });
  }

  static async load({ source, device, dtype = 'float32' }: RigModel, group: ProcessGroup): Promise<ModelRig> {
    const backend = await createBackend(device);
    const quantised = dtype === 'int8' || dtype === 'int4';
    const weightDType = quantised ? 'float32' : dtype;
    const quantConfig = quantised ? new BlockwiseQuantization(dtype) : undefined;
    if ('config' in source) {
      const definition = defineModel(source.config);
      const model = definition.create(new LayerContext(backend, group, weightDType), quantConfig);
      loadSeeded(model, source.seed);
      return new ModelRig(backend, definition, model, group.size);
    }
    const checkpoint = await Checkpoint.open(source.folder);
    try {
      const definition = defineModel(checkpoint.config, checkpoint.names());
      const context = new LayerContext(backend, group, weightDType, { check: headerCheck(definition, checkpoint) });
      const model = definition.create(context, quantConfig);
      const pairs = matchNames(new ParameterTable(model), definition, checkpoint);
      await loadWeights(model, pairs, checkpoint, { name: 'rig', checkFinite: true });
      return new ModelRig(backend, definition, model, group.size);
    } finally {
      await checkpoint.close();
    }
  }

  /** Logits of all rows of each sequence, in the order given. */
  async step(sequences: readonly RigTokens[]): Promise<Float32Array<ArrayBuffer>[]> {
    const { backend, model } = this;
    const scheduled = sequences.map((sequence) => ({
      ...sequence,
      numTokens: sequence.tokenIds.length,
      // In descending order, so that position and place differ.
      blocks: Array.from({ length: BLOCKS_PER_SLOT }, (_, i) => (sequence.slot + 1) * BLOCKS_PER_SLOT - 1 - i),
    }));
    const ordered = reorderBatch(scheduled, 'decode-first');
    const ids = Int32Array.from(ordered.flatMap(({ tokenIds }) => tokenIds));
    const metadata = {
      ...buildMamba2Metadata(backend, ordered, { chunkSize: this.definition.config.chunkSize }),
      attention: buildAttentionMetadata(backend, ordered, BLOCK_SIZE),
    };
    const inputIds = backend.tensor(ids, [ids.length]);
    const hidden = model.forward({ inputIds, cache: this.#caches, kvCache: this.#kvCaches, metadata });
    const logits = await backend.read(model.computeLogits(hidden));
    const { vocabSize } = this.definition.config;
    const begins = new Map<object, number>();
    let begin = 0;
    for (const sequence of ordered) {
      begins.set(sequence, begin);
      begin += sequence.numTokens * vocabSize;
    }
    return scheduled.map((sequence) => {
      const first = begins.get(sequence) ?? 0;
      return logits.slice(first, first + sequence.numTokens * vocabSize);
    });
  }

  /** All logits of a prompt, cut into pieces of these sizes; what is left over comes last. */
  async prompt(tokenIds: readonly number[], pieces: readonly number[] = [], slot = 0): Promise<Float32Array> {
    const parts: Float32Array[] = [];
    let begin = 0;
    for (const piece of [...pieces, tokenIds.length]) {
      const end = Math.min(begin + piece, tokenIds.length);
      if (end === begin) continue;
      parts.push(...(await this.step([{ slot, numComputedTokens: begin, tokenIds: tokenIds.slice(begin, end) }])));
      begin = end;
    }
    return Float32Array.from(parts.flatMap((part) => [...part]));
  }

  /** The most likely tokens after a prompt, one by one. */
  async greedy(tokenIds: readonly number[], count: number, slot = 1): Promise<number[]> {
    const { vocabSize } = this.definition.config;
    const ids = [...tokenIds];
    let logits = (await this.prompt(ids, [], slot)).slice(-vocabSize);
    while (ids.length < tokenIds.length + count) {
      ids.push(logits.indexOf(Math.max(...logits)));
      [logits] = await this.step([{ slot, numComputedTokens: ids.length - 1, tokenIds: ids.slice(-1) }]);
    }
    return ids.slice(tokenIds.length);
  }
}

/** What a rank does for a golden test: nothing here may need vitest. */
export async function runGolden(
  group: ProcessGroup,
  input: { model: RigModel; tokenIds: readonly number[]; pieces: readonly number[]; count: number },
): Promise<{ logits: Float32Array; greedy: number[] }> {
  const rig = await ModelRig.load(input.model, group);
  return {
    logits: await rig.prompt(input.tokenIds, input.pieces),
    greedy: await rig.greedy(input.tokenIds, input.count),
  };
}

/** A golden folder's config. */
export async function readConfig(folder: string): Promise<JsonObject> {
  return parseLenientJson(await readFile(`${folder}/config.json`, 'utf8'), 'config.json') as JsonObject;
}

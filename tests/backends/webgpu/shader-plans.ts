import { readFileSync } from 'node:fs';
import { MLP_ACTIVATIONS } from '../../../src/backends/contract/activations.ts';
import { GREEDY, samplingInputs } from '../../../src/backends/contract/sampling.ts';
import { PAD_SLOT_ID } from '../../../src/backends/contract/sequences.ts';
import { stepTensors } from '../../../src/backends/contract/steps.ts';
import { createWebGpuBackend } from '../../../src/backends/webgpu/create-backend.ts';
import { asObject, type JsonObject, parseLenientJson } from '../../../src/checkpoint/json/json.ts';
import { singleProcess } from '../../../src/distributed/process-group.ts';
import { StateCache } from '../../../src/engine/run/state-cache.ts';
import { buildAttentionMetadata, KV_BLOCK_SIZE } from '../../../src/layers/attention/attention-metadata.ts';
import { buildMamba2Metadata, type ScheduledSequence } from '../../../src/layers/mamba/mamba2-metadata.ts';
import { LayerContext } from '../../../src/layers/parameters/layer-context.ts';
import { ParameterTable } from '../../../src/layers/parameters/parameter.ts';
import { rowSize } from '../../../src/layers/parameters/weight-loaders.ts';
import { defineModel } from '../../../src/models/registry.ts';
import { blockRowBytes, isBlockFormat, type MatrixDType } from '../../../src/tensor/block-formats.ts';
import type { KvCacheDType } from '../../../src/tensor/kv-cache-dtype.ts';
import { FLOAT32_STATES, isStochastic } from '../../../src/tensor/state-dtype.ts';
import { inBlocks } from '../../layers/in-blocks.ts';
import { NVIDIA, type Pretence } from '../../null-gpu.ts';

/** Features that devices may lack. */
const WITHOUT = ['shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix'];
/** Devices of all kinds that kernels differ for. */
export const DEVICES: Readonly<Record<string, Pretence>> = {
  'of the least limits and features': { withoutFeatures: [...WITHOUT, 'subgroup-size-control'] },
  'of the least limits, with all features': {},
  'whose bindings hold some states': { ...NVIDIA, limits: { ...NVIDIA.limits, maxStorageBufferBindingSize: 2 ** 23 } },
  ...Object.fromEntries(WITHOUT.map((feature) => [`without ${feature}`, { ...NVIDIA, withoutFeatures: [feature] }])),
  ...Object.fromEntries(
    [
      [4, 4],
      [8, 8],
      [16, 16],
      [64, 64],
      [8, 32],
      [4, 64],
    ].map(([least, most]) => [
      `with subgroups of ${least} to ${most}`,
      { ...NVIDIA, info: { subgroupMinSize: least, subgroupMaxSize: most } },
    ]),
  ),
};

/** Small models of each kind, and one whose heads and states are as large as real ones'. */
export const CONFIGS: Readonly<Record<string, JsonObject>> = {
  ...Object.fromEntries(
    ['mamba2', 'bamba', 'falcon_h1', 'granitemoehybrid', 'nemotron_h', 'zamba2'].map((name) => {
      const file = new URL(`../../goldens/${name}/config.json`, import.meta.url);
      return [name, asObject(parseLenientJson(readFileSync(file, 'utf8'), name), name)];
    }),
  ),
  wide: wide(2),
};

/** A layer as wide as real ones. */
export function wide(groups: number): JsonObject {
  return {
    model_type: 'mamba2',
    vocab_size: 48,
    hidden_size: 256,
    num_hidden_layers: 1,
    num_heads: 8,
    head_dim: 64,
    n_groups: groups,
    state_size: 128,
    chunk_size: 64,
  };
}

// Padding: states of one slot do, for the null device's memory is the machine's.
const slot = PAD_SLOT_ID;
const decodes = (rows: number) => Array.from({ length: rows }, () => ({ slot, numComputedTokens: 5, numTokens: 1 }));
const prompt = (numTokens: number, numComputedTokens = 0) => ({ slot, numTokens, numComputedTokens });
/** One row, a few, many, around all sizes at which kernels change. */
const BATCHES: readonly (readonly ScheduledSequence[])[] = [
  ...[1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 33, 49, 64, 65, 130].map(decodes),
  [prompt(1), prompt(9)],
  [prompt(140), prompt(30, 8)],
  [...decodes(3), prompt(40)],
];

/** Plans every batch on a model of zeros and waits for its kernels. */
export async function prepareModel(
  config: JsonObject,
  dtype: MatrixDType,
  storage = FLOAT32_STATES,
  kvCacheDtype: KvCacheDType = 'float32',
): Promise<void> {
  const backend = await createWebGpuBackend();
  // What does not fit blocks must not be float32: then nothing is rounded for subgroup matrices.
  const context = new LayerContext(backend, singleProcess, isBlockFormat(dtype) ? 'bfloat16' : dtype);
  const model = defineModel(config).create(context, isBlockFormat(dtype) ? inBlocks(dtype) : undefined);
  const table = new ParameterTable(model);
  for (const name of table.names()) {
    const size = rowSize(table.shape(name));
    const kept = table.dtype(name);
    if (isBlockFormat(kept)) {
      await table.streamBlocks(name, 1 << 20, async ({ rows }) => new Uint8Array(rows * blockRowBytes(kept, size)));
    } else {
      await table.stream(name, 1 << 20, async ({ rows }) => new Float32Array(rows * size));
    }
  }
  const numBlocks = model.kvCacheSizes.length > 0 ? 2 : 0;
  const states = new StateCache(backend, model, { slots: 1, numBlocks, states: storage, kvCacheDtype }, singleProcess);
  await backend.prepare(
    BATCHES.map((batch) => () => {
      const rows = batch.reduce((sum, { numTokens }) => sum + numTokens, 0);
      const hidden = model.forward({
        inputIds: backend.tensor(new Int32Array(rows), [rows]),
        cache: states.layers,
        kvCache: states.kvCache?.layers,
        metadata: {
          ...buildMamba2Metadata(backend, batch, { chunkSize: 64, withPositions: isStochastic(storage) }),
          attention: states.kvCache && buildAttentionMetadata(backend, batch, KV_BLOCK_SIZE),
        },
      });
      model.computeLogits(hidden);
    }),
  );
  backend.dispose();
}

/** Plans operations as no model of those above calls them. */
export async function prepareOperations(dtype: MatrixDType): Promise<void> {
  const backend = await createWebGpuBackend();
  const matrix = (outFeatures: number, inFeatures: number) =>
    isBlockFormat(dtype)
      ? backend.blockWeightWriter(outFeatures, inFeatures, dtype).finish()
      : backend.linearWeightWriter(outFeatures, inFeatures, dtype).finish();
  const zeros = (...shape: number[]) => backend.zeros(shape);
  const indices = (...values: number[]) => backend.tensor(Int32Array.from(values), [values.length]);
  await backend.prepare(
    [1, 5, 12, 100].map((T) => () => {
      // Inputs that make vectors of eight, and some that do not.
      for (const inFeatures of isBlockFormat(dtype) ? [256] : [128, 20]) {
        const weight = matrix(48, inFeatures);
        backend.linear(zeros(T, inFeatures), weight, zeros(48));
        backend.embedding(indices(0), weight);
        const inner = isBlockFormat(dtype) ? 256 : 20;
        const up = matrix(2 * inner, inFeatures);
        const down = matrix(inFeatures, inner);
        backend.fusedMoe(zeros(T, inFeatures), zeros(T, 1), [{ up, down }], 'silu', true);
        const [, columns] = backend.splitColumns(zeros(T, 2 * inFeatures), [inFeatures, inFeatures]);
        backend.linear(columns, weight);
        const [, odd] = backend.splitColumns(zeros(T, 3 + inFeatures), [3, inFeatures]);
        backend.linear(odd, weight);
        backend.linear(backend.rmsNorm(columns, zeros(inFeatures), 1e-5), weight);
      }
      backend.gatherRows(zeros(T, 8), indices(0));
      backend.scaleRows(zeros(T, 8), zeros(T, 1), 8, 1e-5);
      const sampled = samplingInputs(Array.from({ length: T }, (_, slot) => ({ ...GREEDY, slot })));
      backend.sampling?.sampleTokens(
        zeros(T, 48),
        stepTensors(sampled, (values) => indices(...values)),
        zeros(T),
      );
      const row = indices(...new Int32Array(T));
      backend.sampling?.takeSampled(row, row, zeros(T));
      // More states than one of the devices binds at once.
      const [x, B, C] = backend.splitColumns(zeros(T, 8 * 64 + 2 * 128), [8 * 64, 128, 128]);
      const [z, dt] = backend.splitColumns(zeros(T, 8 * 64 + 8), [8 * 64, 8]);
      const y = backend.selectiveStateUpdate({
        x,
        dt,
        B,
        C,
        A: zeros(8),
        D: zeros(8),
        dtBias: zeros(8),
        nGroups: 1,
        state: zeros(40, 8, 64, 128),
        stateBatchIndices: indices(...Array(T).fill(-1)),
      });
      backend.siluGate(y, z);
      const decay = { dt: zeros(T, 4), A: zeros(4), dtBias: zeros(4), dtSoftplus: true };
      backend.logDecaySums(decay);
      backend.logDecaySums({ ...decay, queryStartLoc: indices(0, T) });
      for (const activation of MLP_ACTIVATIONS) {
        backend.activate(zeros(T, 8), activation);
        backend.activateAndMul(zeros(T, 8), zeros(T, 8), activation);
      }
      for (const scoring of ['softmax', 'sigmoid'] as const) {
        backend.topKRouting(
          zeros(T, 8),
          { topK: 2, scoring, renormalize: true, numGroups: 2, topKGroups: 1 },
          zeros(8),
        );
      }
    }),
  );
  backend.dispose();
}

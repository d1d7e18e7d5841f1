import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { MLP_ACTIVATIONS } from '../../../src/backends/contract/activations.ts';
import { GREEDY, samplingVectors } from '../../../src/backends/contract/sampling.ts';
import { PAD_SLOT_ID } from '../../../src/backends/contract/sequences.ts';
import { createWebGpuBackend } from '../../../src/backends/webgpu/create-backend.ts';
import { expandShader, type ShaderConstants } from '../../../src/backends/webgpu/device/shader-template.ts';
import { DEFAULT_LAUNCH } from '../../../src/backends/webgpu/launch/default.ts';
import type { LaunchParameters } from '../../../src/backends/webgpu/launch/launch-parameters.ts';
import { SHADERS } from '../../../src/backends/webgpu/shaders/shaders.generated.ts';
import { asObject, type JsonObject, parseLenientJson } from '../../../src/checkpoint/json/json.ts';
import { singleProcess } from '../../../src/distributed/process-group.ts';
import { StateCache } from '../../../src/engine/state-cache.ts';
import { buildAttentionMetadata, KV_BLOCK_SIZE } from '../../../src/layers/attention/attention-metadata.ts';
import { buildMamba2Metadata, type ScheduledSequence } from '../../../src/layers/mamba/mamba2-metadata.ts';
import { LayerContext } from '../../../src/layers/parameters/layer-context.ts';
import { ParameterTable } from '../../../src/layers/parameters/parameter.ts';
import { rowSize } from '../../../src/layers/parameters/weight-loaders.ts';
import { defineModel } from '../../../src/models/registry.ts';
import { WEIGHT_DTYPES, type WeightDType } from '../../../src/tensor/dtype.ts';
import { need } from '../../needs/needs.ts';
import { NullGpu, NVIDIA, type Pretence } from '../../null-gpu.ts';

vi.setConfig({ testTimeout: 300_000 });

/** What the backend is told to lay kernels out by. */
const launch = vi.hoisted(() => ({ current: undefined as LaunchParameters | undefined }));
vi.mock('../../../src/backends/webgpu/launch/choose-launch.ts', () => ({
  launchParametersFor: () => launch.current,
}));

/** Every kernel that any of these tests has compiled. */
const compiled = new Set<string>();
let gpu: NullGpu | undefined;

const WITHOUT = ['shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix'];
const DEVICES: Readonly<Record<string, Pretence>> = {
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
const CONFIGS: Readonly<Record<string, JsonObject>> = {
  ...Object.fromEntries(
    ['mamba2', 'bamba', 'falcon_h1', 'granitemoehybrid', 'nemotron_h', 'zamba2'].map((name) => {
      const file = new URL(`../../goldens/${name}/config.json`, import.meta.url);
      return [name, asObject(parseLenientJson(readFileSync(file, 'utf8'), name), name)];
    }),
  ),
  wide: wide(2),
};

function wide(groups: number): JsonObject {
  return {
    model_type: 'mamba2',
    ...{ vocab_size: 48, hidden_size: 256, num_hidden_layers: 1, num_heads: 8, head_dim: 64, n_groups: groups },
    ...{ state_size: 128, chunk_size: 64 },
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

const LAUNCH_FILES = await launchFiles();

describe.runIf(need('dawn'))('every variant of every shader compiles', () => {
  afterEach(() => {
    for (const kernel of gpu?.kernels ?? []) compiled.add(kernel);
    gpu?.uninstall();
    gpu = undefined;
  });

  describe.each(Object.entries(DEVICES))('on a device %s', (_, pretence) => {
    test.each(Object.keys(CONFIGS))('%s', async (model) => {
      gpu = await NullGpu.install(pretence);
      launch.current = DEFAULT_LAUNCH;
      // Two have linear layers of every kind; the others are there for their own operations.
      const dtypes = ['mamba2', 'wide'].includes(model) ? WEIGHT_DTYPES : (['float32', 'float16'] as const);
      for (const dtype of dtypes) await prepareModel(CONFIGS[model], dtype);
    });

    test('what no model does', async () => {
      gpu = await NullGpu.install(pretence);
      launch.current = DEFAULT_LAUNCH;
      for (const dtype of WEIGHT_DTYPES) await prepareOperations(dtype);
    });
  });

  describe.each(LAUNCH_FILES)('laid out by launch/%s', (_, parameters) => {
    test.each(WEIGHT_DTYPES)('%s', async (dtype) => {
      gpu = await NullGpu.install(NVIDIA);
      for (const variation of oneEntryEach(parameters)) {
        launch.current = variation;
        for (const groups of [1, 2, 8]) await prepareModel(wide(groups), dtype);
        await prepareOperations(dtype);
        gpu.collect();
      }
      expect([...gpu.kernels].some((kernel) => kernel.startsWith('linear-matrix '))).toBe(dtype !== 'float32');
    });
  });
});

describe.runIf(need('dawn'))('what these tests cover', () => {
  test('is every line of every shader', () => {
    const uncovered = new Set(Object.entries(SHADERS).flatMap(([name, text]) => taggedLines(name, text)));
    const tagged = Object.fromEntries(Object.entries(SHADERS).map(([name, text]) => [name, tag(name, text)]));
    for (const kernel of compiled) {
      const [shader, ...constants] = kernel.split(' ');
      const code = expandShader(shader, tagged, Object.fromEntries(constants.map(readConstant)));
      for (const [line] of code.matchAll(/@\S+:\d+$/gm)) uncovered.delete(line);
    }
    expect([...uncovered]).toEqual([]);
  });
});

/** Plans every batch on a model of zeros and waits for its kernels. */
async function prepareModel(config: JsonObject, dtype: WeightDType): Promise<void> {
  const backend = await createWebGpuBackend();
  const model = defineModel(config).create(new LayerContext(backend, singleProcess, dtype));
  const table = new ParameterTable(model);
  for (const name of table.names()) {
    const size = rowSize(table.shape(name));
    await table.stream(name, 1 << 20, async ({ rows }) => new Float32Array(rows * size));
  }
  const numBlocks = model.kvCacheSizes.length > 0 ? 2 : 0;
  const states = new StateCache(backend, model, { slots: 1, numBlocks }, singleProcess);
  await backend.prepare(
    BATCHES.map((batch) => () => {
      const rows = batch.reduce((sum, { numTokens }) => sum + numTokens, 0);
      const hidden = model.forward({
        inputIds: backend.tensor(new Int32Array(rows), [rows]),
        cache: states.layers,
        kvCache: states.kvCache?.layers,
        metadata: {
          ...buildMamba2Metadata(backend, batch, { chunkSize: 64 }),
          attention: states.kvCache && buildAttentionMetadata(backend, batch, KV_BLOCK_SIZE),
        },
      });
      model.computeLogits(hidden);
    }),
  );
  backend.dispose();
}

/** Plans operations as no model of those above calls them. */
async function prepareOperations(dtype: WeightDType): Promise<void> {
  const backend = await createWebGpuBackend();
  const zeros = (...shape: number[]) => backend.zeros(shape);
  const indices = (...values: number[]) => backend.tensor(Int32Array.from(values), [values.length]);
  await backend.prepare(
    [1, 5, 12, 100].map((T) => () => {
      // Inputs that make vectors of eight, and some that do not.
      for (const inFeatures of [128, 20]) {
        const weight = backend.linearWeight(new Float32Array(48 * inFeatures), 48, inFeatures, dtype);
        backend.linear(zeros(T, inFeatures), weight, zeros(48));
        const up = backend.linearWeight(new Float32Array(40 * inFeatures), 40, inFeatures, dtype);
        const down = backend.linearWeight(new Float32Array(20 * inFeatures), inFeatures, 20, dtype);
        backend.fusedMoe(zeros(T, inFeatures), zeros(T, 1), [{ up, down }], 'silu', true);
        const [, columns] = backend.splitColumns(zeros(T, 2 * inFeatures), [inFeatures, inFeatures]);
        backend.linear(columns, weight);
        backend.linear(backend.rmsNorm(columns, zeros(inFeatures), 1e-5), weight);
      }
      backend.gatherRows(zeros(T, 8), indices(0));
      backend.scaleRows(zeros(T, 8), zeros(T, 1), 8, 1e-5);
      const sampled = samplingVectors(Array.from({ length: T }, (_, slot) => ({ ...GREEDY, slot })));
      backend.sampling?.sampleTokens(
        zeros(T, 48),
        sampled.map((vector) => indices(...vector)),
        zeros(T),
      );
      const row = indices(...new Int32Array(T));
      backend.sampling?.takeSampled(row, row, zeros(T));
      // More states than one of the devices binds at once.
      const [x, B, C] = backend.splitColumns(zeros(T, 8 * 64 + 2 * 128), [8 * 64, 128, 128]);
      const [z, dt] = backend.splitColumns(zeros(T, 8 * 64 + 8), [8 * 64, 8]);
      const y = backend.selectiveStateUpdate({
        ...{ x, dt, B, C, A: zeros(8), D: zeros(8), dtBias: zeros(8), nGroups: 1 },
        ...{ state: zeros(40, 8, 64, 128), stateBatchIndices: indices(...Array(T).fill(-1)) },
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

/** Every set of launch parameters in launch/, by file. */
async function launchFiles(): Promise<[file: string, parameters: LaunchParameters][]> {
  const folder = new URL('../../../src/backends/webgpu/launch/', import.meta.url);
  const files = readdirSync(folder).filter((file) => file !== 'choose-launch.ts' && file !== 'launch-parameters.ts');
  const modules = await Promise.all(files.map((file) => import(/* @vite-ignore */ new URL(file, folder).href)));
  return files.flatMap((file, i) =>
    Object.values(modules[i]).map((parameters) => [file, parameters as LaunchParameters]),
  );
}

/** The parameters, and for each entry of their lists the parameters with that one alone, for whatever sizes. */
function oneEntryEach(parameters: LaunchParameters): LaunchParameters[] {
  const variations = Object.entries(parameters).flatMap(([key, value]) => {
    if (!Array.isArray(value)) return [];
    return value.map((entry) => ({ ...parameters, [key]: [withoutMinimums(entry)] }));
  });
  return [parameters, ...variations];
}

function withoutMinimums(entry: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(entry).map(([name, value]) => [name, name.startsWith('min') ? 0 : value]));
}

function isCode(line: string): boolean {
  return line.trim() !== '' && !/^\s*(#|\/\/)/.test(line);
}

function tag(name: string, text: string): string {
  return text
    .split('\n')
    .map((line, i) => (isCode(line) ? `${line} // @${name}:${i + 1}` : line))
    .join('\n');
}

function taggedLines(name: string, text: string): string[] {
  return text.split('\n').flatMap((line, i) => (isCode(line) ? [`@${name}:${i + 1}`] : []));
}

function readConstant(text: string): [string, ShaderConstants[string]] {
  const [name, value] = text.split('=');
  if (value === 'true' || value === 'false') return [name, value === 'true'];
  return [name, /^\d+$/.test(value) ? Number(value) : value];
}

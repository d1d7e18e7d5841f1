import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Backend } from '../../../src/backends/backend.ts';
import { ReferenceBackend } from '../../../src/backends/reference/reference-backend.ts';
import { FUSIONS } from '../../../src/backends/webgpu/fusions.ts';
import { type GpuDevice, requestGpuDevice } from '../../../src/backends/webgpu/gpu-device.ts';
import { WebGpuBackend } from '../../../src/backends/webgpu/webgpu-backend.ts';
import { singleProcess } from '../../../src/distributed/process-group.ts';
import { LayerContext } from '../../../src/layers/layer-context.ts';
import { buildMamba2Metadata, type ScheduledSequence } from '../../../src/layers/mamba2-metadata.ts';
import { ParameterTable } from '../../../src/layers/parameter.ts';
import { rowSize } from '../../../src/layers/weight-loaders.ts';
import { Mamba2ForCausalLM } from '../../../src/models/mamba2.ts';
import { readMamba2Config } from '../../../src/models/mamba2-config.ts';
import type { WeightDType } from '../../../src/tensor/dtype.ts';
import { hasGpu } from '../../software-gpu.ts';

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const LAYERS = 2;
const SLOTS = 12;
const VOCAB = 40;

/** Batches that take every path: rows one, few and many, decode, prefill and both, with padding. */
const BATCHES = {
  'one row': [decode(3)],
  'five rows': [decode(3), decode(0), decode(-1), decode(7), decode(1)],
  'nine rows': Array.from({ length: 9 }, (_, slot) => decode(slot)),
  'prompts, one of them continued': [prefill(2, 20, 0), prefill(5, 140, 30), prefill(-1, 3, 0)],
  'rows and a prompt': [decode(3), decode(4), prefill(6, 33, 0)],
} satisfies Readonly<Record<string, readonly ScheduledSequence[]>>;

describe.skipIf(!hasGpu)('fused layers', () => {
  describe.each([
    {
      groups: 2,
      dtype: 'float16',
      batches: ['one row', 'nine rows', 'prompts, one of them continued', 'rows and a prompt'],
    },
    { groups: 1, dtype: 'float32', batches: ['five rows', 'rows and a prompt'] },
    { groups: 1, dtype: 'bfloat16', batches: ['one row'] },
    { groups: 4, dtype: 'int8', batches: ['five rows'] },
    { groups: 1, dtype: 'int4', batches: ['nine rows'] },
  ] as const)('of $dtype, $groups groups', ({ groups, dtype, batches }) => {
    let backend: WebGpuBackend;
    let model: Mamba2ForCausalLM;

    beforeAll(async () => {
      backend = new WebGpuBackend(await requestGpuDevice());
      model = await makeModel(backend, groups, dtype);
    });
    afterAll(() => backend.dispose());

    it.each(batches)('do with %s what their operations do', async (name) => {
      const reference = new ReferenceBackend();
      const expected = await run(reference, await makeModel(reference, groups, dtype), BATCHES[name]);
      expect(worst(await run(backend, model, BATCHES[name]), expected)).toBeLessThan(2e-4);
    });
  });

  it('take three dispatches to decode few rows', async () => {
    const gpu = await requestGpuDevice();
    const count = countDispatches(gpu);
    const backend = new WebGpuBackend(gpu, FUSIONS);
    try {
      await run(backend, await makeModel(backend, 1, 'float16'), BATCHES['one row']);
      // The embedding and the norm behind the layers.
      expect(count()).toBe(3 * LAYERS + 2);
    } finally {
      backend.dispose();
    }
  });
});

function decode(slot: number): ScheduledSequence {
  return { slot, numComputedTokens: 5, numTokens: 1 };
}

function prefill(slot: number, numTokens: number, numComputedTokens: number): ScheduledSequence {
  return { slot, numTokens, numComputedTokens };
}

/** What a small model makes of a batch: its rows, and the states behind it. Padded rows mean nothing and are left out. */
async function run(
  backend: Backend,
  model: Mamba2ForCausalLM,
  batch: readonly ScheduledSequence[],
): Promise<Float32Array[]> {
  const states = model.stateShapes.map(({ conv, ssm }, layer) => ({
    convState: backend.tensor(noise(`conv ${layer}`, SLOTS * conv[0] * conv[1], 1), [SLOTS, ...conv]),
    ssmState: backend.tensor(noise(`ssm ${layer}`, SLOTS * ssm[0] * ssm[1] * ssm[2], 1), [SLOTS, ...ssm]),
  }));
  const rows = batch.reduce((sum, { numTokens }) => sum + numTokens, 0);
  const ids = Int32Array.from({ length: rows }, (_, i) => (7 * i + 3) % VOCAB);
  const { reads } = backend.scope(() => {
    const metadata = buildMamba2Metadata(backend, batch, { chunkSize: 64 });
    const hidden = model.forward({ inputIds: backend.tensor(ids, [rows]), cache: states, metadata });
    return { reads: backend.read(hidden) };
  });
  const hidden = await reads;
  const width = hidden.length / rows;
  let begin = 0;
  for (const { slot, numTokens } of batch) {
    if (slot < 0) hidden.fill(0, begin * width, (begin + numTokens) * width);
    begin += numTokens;
  }
  const after = states.flatMap(({ convState, ssmState }) => [backend.read(convState), backend.read(ssmState)]);
  return [hidden, ...(await Promise.all(after))];
}

async function makeModel(backend: Backend, groups: number, dtype: WeightDType): Promise<Mamba2ForCausalLM> {
  const config = readMamba2Config({
    model_type: 'mamba2',
    vocab_size: VOCAB,
    hidden_size: 64,
    num_hidden_layers: LAYERS,
    num_heads: 4,
    head_dim: 32,
    n_groups: groups,
    state_size: 128,
    chunk_size: 64,
  });
  const model = new Mamba2ForCausalLM(new LayerContext(backend, singleProcess, dtype), config);
  const table = new ParameterTable(model);
  for (const name of table.names()) {
    const shape = table.shape(name);
    const size = rowSize(shape);
    const values = noise(name, shape[0] * size, name.endsWith('proj.weight') ? 0.2 : 0.6);
    if (name.includes('norm')) for (let i = 0; i < values.length; i++) values[i] += 1;
    await table.stream(name, 1 << 20, async ({ firstRow, rows }) => {
      return values.subarray(firstRow * size, (firstRow + rows) * size);
    });
  }
  return model;
}

/** Of the name's own, from -scale to scale. */
function noise(name: string, length: number, scale: number): Float32Array {
  let state = [...name].reduce((hash, letter) => Math.imul(hash ^ letter.charCodeAt(0), 16777619), 2166136261);
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return scale * ((state >>> 8) / 2 ** 23 - 1);
  });
}

function worst(actual: readonly Float32Array[], expected: readonly Float32Array[]): number {
  let difference = 0;
  for (const [i, values] of expected.entries()) {
    for (const [j, value] of values.entries()) {
      const off = Math.abs(actual[i][j] - value) / (1 + Math.abs(value));
      // NaN is never the larger one.
      if (!(off <= difference)) difference = off;
    }
  }
  return difference;
}

function countDispatches({ device }: GpuDevice): () => number {
  let count = 0;
  const createCommandEncoder = device.createCommandEncoder.bind(device);
  device.createCommandEncoder = (descriptor) => {
    const encoder = createCommandEncoder(descriptor);
    const beginComputePass = encoder.beginComputePass.bind(encoder);
    encoder.beginComputePass = (passDescriptor) => {
      const pass = beginComputePass(passDescriptor);
      const dispatchWorkgroups = pass.dispatchWorkgroups.bind(pass);
      pass.dispatchWorkgroups = (...counts) => {
        count++;
        dispatchWorkgroups(...counts);
      };
      return pass;
    };
    return encoder;
  };
  return () => count;
}

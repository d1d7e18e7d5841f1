import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createCudaBackend } from '../../../src/backends/cuda/create-backend.ts';
import { CudaBackend } from '../../../src/backends/cuda/cuda-backend.ts';
import { CudaDevice } from '../../../src/backends/cuda/device/cuda-device.ts';
import type { Handle } from '../../../src/backends/cuda/device/driver.ts';
import type { NcclGroup } from '../../../src/backends/cuda/nccl/nccl-group.ts';
import { LLM } from '../../../src/engine/llm.ts';
import { DeviceLostError, OutOfDeviceMemoryError, UnsupportedDeviceError } from '../../../src/errors.ts';
import { need } from '../../needs/needs.ts';
import { describeReplay } from '../suite/replay.ts';
import { buildEmulatedDriver, type EmulatedDriver } from './emulated-driver.ts';
import { describePredictor } from './predictor.ts';
import { describeReplayedModel } from './replay.ts';
import { describeSteps } from './steps.ts';

const GOLDEN = fileURLToPath(new URL('../../goldens/mamba2', import.meta.url));

test('without a driver the error says so', async () => {
  await expect(createCudaBackend({ library: '/nowhere/libcuda.so.1' })).rejects.toThrow(UnsupportedDeviceError);
});

describe.runIf(need('g++'))('the driver', () => {
  const memory = 8 * 2 ** 30;
  let driver: EmulatedDriver;
  beforeAll(async () => {
    driver = await buildEmulatedDriver(['FLOAT32']);
  });
  afterAll(() => driver.dispose());
  afterEach(() => {
    delete process.env.MAMBA2_CUDA_LIBRARY;
    delete process.env.EMULATED_VERSION;
    delete process.env.EMULATED_NO_DEVICE;
    driver.reset(memory, -1);
  });
  const makeBackend = () => createCudaBackend({ library: driver.library });

  describeSteps(makeBackend);
  describeReplay(makeBackend);
  describeReplayedModel(makeBackend);

  test('chooses tokens after prompts as the host does, and gives the logits that are kept', async () => {
    process.env.MAMBA2_CUDA_LIBRARY = driver.library;
    const answers = async (device: 'cpu' | 'cuda') => {
      const llm = await LLM.load(GOLDEN, { device, dtype: 'float32' });
      const options = { maxTokens: 2, seed: 5, ignoreEos: true };
      const first = await Promise.all([[1, 2, 3], [4]].map((prompt) => llm.complete(prompt, options)));
      const again = await llm.complete([1, 2, 3], options);
      await llm.dispose();
      return [...first, again].map(({ tokenIds }) => tokenIds);
    };
    expect(await answers('cuda')).toEqual(await answers('cpu'));
  });
  describePredictor(() => driver.library);

  // Small results are written by a kernel, others copied: with rows that have gaps on the device, and without.
  test.each([[[2]], [[64, 2]], [[5, 3, 7]], [[1, 4096]], [[4097]], [[300, 17]]])(
    'reads results of shape %j',
    async (shape) => {
      const backend = await makeBackend();
      const values = Float32Array.from({ length: shape.reduce((all, size) => all * size, 1) }, (_, i) => i / 3);
      expect(await backend.read(backend.tensor(values, shape))).toEqual(values);
    },
  );

  test('destroys graphs before the group that they exchange in', async () => {
    const order: string[] = [];
    const device = await CudaDevice.open({ library: driver.library });
    const { functions } = device.driver;
    const cuGraphExecDestroy = (graph: Handle) => {
      order.push('graph');
      return functions.cuGraphExecDestroy(graph);
    };
    Object.assign(device.driver, { functions: { ...functions, cuGraphExecDestroy } });
    const backend = new CudaBackend(device, { group: { dispose: () => order.push('group') } as unknown as NcclGroup });
    const x = backend.zeros([2, 2]);
    for (let n = 0; n < 2; n++) backend.step({ variant: {}, inputs: {}, compute: () => ({ sum: backend.add(x, x) }) });
    backend.dispose();
    expect(order).toEqual(['graph', 'group']);
  });

  test('is too old', async () => {
    process.env.EMULATED_VERSION = '11020';
    await expect(makeBackend()).rejects.toThrow(/one of CUDA 11\.2\. .* CUDA 11\.4 or newer/);
  });

  test('finds no GPU', async () => {
    process.env.EMULATED_NO_DEVICE = '1';
    await expect(makeBackend()).rejects.toThrow(UnsupportedDeviceError);
  });

  test('has too little memory for a model, which shows before it is loaded', async () => {
    const backend = await makeBackend();
    driver.reset(2 ** 30, -1);
    const matrix = { outFeatures: 1000, inFeatures: 1000, dtype: 'float32' as const };
    await backend.reserve({ matrices: [matrix], floats: 1e6 });
    const need = backend.reserve({ matrices: Array(300).fill(matrix), floats: 1e6 });
    await expect(need).rejects.toThrow(OutOfDeviceMemoryError);
    await expect(need).rejects.toThrow(/1204 MB/);
    backend.dispose();
  });

  test('has too little memory for a step, and goes on with smaller ones', async () => {
    const backend = await makeBackend();
    driver.reset(2 ** 30, -1);
    expect(() => backend.scope(() => backend.zeros([2 ** 15, 2 ** 15]))).toThrow(OutOfDeviceMemoryError);
    const half = () => backend.zeros([2 ** 10, 2 ** 17]);
    expect(() => backend.scope(() => [half(), half(), half()])).toThrow(OutOfDeviceMemoryError);
    // What steps and snapshots had is free for others.
    backend.saveSlot(backend.zeros([1, 2 ** 17]), 0).dispose();
    backend.scope(half);
    backend.scope(() => backend.zeros([1536, 2 ** 17]));
    backend.zeros([1800, 2 ** 17]);
    const sum = backend.add(
      backend.tensor(Float32Array.of(1, 2), [1, 2]),
      backend.tensor(Float32Array.of(3, 4), [1, 2]),
    );
    expect([...(await backend.read(sum))]).toEqual([4, 6]);
    backend.dispose();
  });

  test('has memory for three parts of a scope, and so for any number of them', async () => {
    const backend = await makeBackend();
    driver.reset(2 ** 30, -1);
    const shape = [2, 2 ** 20];
    const sum = backend.scope(() => {
      let x = backend.zeros(shape);
      for (let i = 0; i < 10; i++) {
        const input = x;
        x = backend.part(shape, () => {
          backend.zeros([50, 2 ** 20]);
          return backend.add(input, input);
        });
      }
      return backend.read(x);
    });
    expect(await sum).toHaveLength(2 ** 21);
    backend.dispose();
  });

  test('does not write over what a launch reads that has taken over the first ones of the next part', async () => {
    const backend = await makeBackend();
    const shape = [3, 64];
    const x = backend.tensor(
      Float32Array.from({ length: 192 }, (_, i) => i),
      shape,
    );
    const ones = backend.tensor(new Float32Array(64).fill(1), [64]);
    const parts = () => {
      const first = backend.part(shape, () => backend.mulScalar(x, 2));
      const sum = backend.part(shape, () => backend.add(first, backend.mulScalar(first, 3)));
      const last = backend.part(shape, () => {
        // Rows of the norm would lie a row after those of the first part.
        backend.empty([1, 64]);
        return backend.rmsNorm(sum, ones, 1e-5);
      });
      return backend.read(last);
    };
    expect(await backend.scope(parts)).toEqual(await parts());
    backend.dispose();
  });

  test.each([0, 1, 2, 3, 5])(
    'loses the device after %i calls: that error, and every later one, says so',
    async (calls) => {
      const backend = await makeBackend();
      const x = backend.tensor(Float32Array.of(1, 2), [1, 2]);
      driver.reset(memory, calls);
      const run = async () => backend.read(backend.add(backend.mulScalar(x, 2), x));
      await expect(run()).rejects.toThrow(DeviceLostError);
      await expect(backend.failed).resolves.toBeInstanceOf(DeviceLostError);
      await expect(run()).rejects.toThrow(DeviceLostError);
      backend.dispose();
    },
  );
});

describe('the kernels', () => {
  const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8');

  test('that are kept as PTX are those of the sources', () => {
    const print = "import { cudaDigest } from './scripts/cuda-sources.mjs'; process.stdout.write(cudaDigest())";
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', print], { encoding: 'utf8' });
    expect(read('cuda/ptx/digest.txt').trim(), "run 'npm run ptx'").toBe(stdout);
  });

  test('are all in their modules, which old drivers and GPUs take', async () => {
    const { KERNELS } = await import('../../../src/backends/cuda/kernels/kernels.generated.ts');
    const { loadPtx } = await import('../../../src/backends/cuda/kernels/load-ptx.ts');
    const ptx = await loadPtx();
    for (const [name, { module, layout }] of Object.entries(KERNELS)) {
      const text = new TextDecoder().decode(ptx.get(module));
      const [, version, target] = /^\.version (.*)\n\.target (.*)\n/.exec(text) ?? [];
      // Hopper's alone, and those for Hopper and newer GPUs.
      if (module.startsWith('linear-wide')) expect([version, target]).toEqual(['8.0', 'sm_90a']);
      else if (module.startsWith('layers-5')) expect([version, target]).toEqual(['8.0', 'sm_90']);
      else expect([version, target]).toEqual(['7.4', 'sm_80']);
      expect(text.endsWith('\0')).toBe(true);
      // The struct as the compiler lays it out.
      const [, bytes] =
        new RegExp(`\\.entry ${name}\\(\\s*\\.param \\.align 8 \\.b8 \\w+\\[(\\d+)\\]`).exec(text) ?? [];
      expect([name, Number(bytes)]).toEqual([name, layout.bytes]);
    }
  });
});

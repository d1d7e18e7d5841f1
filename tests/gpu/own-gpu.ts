import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { ReferenceBackend } from '../../src/backends/reference/reference-backend.ts';
import { createWebGpuBackend } from '../../src/backends/webgpu/create-backend.ts';
import { describeGpu } from '../../src/backends/webgpu/device/find-gpu.ts';
import { type GpuDeviceOptions, requestGpuDevice } from '../../src/backends/webgpu/device/gpu-device.ts';
import { WebGpuBackend } from '../../src/backends/webgpu/webgpu-backend.ts';
import { openFile } from '../../src/checkpoint/files/file-source.ts';
import { SafetensorsFile } from '../../src/checkpoint/safetensors/safetensors.ts';
import { LLM } from '../../src/engine/llm.ts';
import type { ScheduledSequence } from '../../src/layers/mamba/mamba2-metadata.ts';
import { SECTIONS } from '../backends/suite/backend-suite.ts';
import type { Demands } from '../backends/suite/harness.ts';
import { WEBGPU_DEMANDS } from '../backends/webgpu/demands.ts';
import { decode, makeLayers, prefill, runLayers, worst } from '../backends/webgpu/layers-rig.ts';
import { describe, expect, runCases, test } from '../browser/suite/vitest-in-page.ts';

/**
 * What must hold on the machine's own GPU, whichever that is: `npm run test:gpu`. It is built to one file, which needs Node,
 * the package and a GPU only. Usage: node own-gpu.js [FOLDER_OF_GOLDENS [PART]], where the part's
 * name holds the last argument: 'suite', or 'no subgroups: layers'.
 */
const [, PROGRAM, GOLDENS, ONLY] = process.argv;
const ARCHITECTURES = ['mamba2', 'bamba', 'falcon_h1', 'granitemoehybrid', 'nemotron_h', 'zamba2'];
const MATRICES = 'chromium-experimental-subgroup-matrix';
const MATRIX_FEATURES = ['shader-f16', 'subgroups', MATRICES];
const VARIANTS: Readonly<Record<string, GpuDeviceOptions>> = {
  'all features': {},
  'no subgroup matrices': { withoutFeatures: [MATRICES] },
  'no shader-f16': { withoutFeatures: ['shader-f16'] },
  'no subgroups': { withoutFeatures: ['subgroups', 'subgroup-size-control', MATRICES] },
  'least limits and features': {
    defaultLimits: true,
    withoutFeatures: ['shader-f16', 'subgroups', 'subgroup-size-control', MATRICES],
  },
};

/** Subgroup matrices round activations to float16, in sums of some hundred products. */
const HALF = { relative: 5e-3, absolute: 2e-2 };
const MATRIX_DEMANDS: Demands = {
  ...WEBGPU_DEMANDS,
  tolerances: { ...WEBGPU_DEMANDS.tolerances, stateSpace: HALF, quantized: HALF },
};

/** Rows of every number at which kernels change, and prompts. */
const rows = (count: number) => Array.from({ length: count }, (_, i) => decode(i % 7 === 3 && count > 7 ? -1 : i));
const BATCHES: Readonly<Record<string, readonly ScheduledSequence[]>> = {
  ...Object.fromEntries(
    [1, 2, 3, 4, 5, 9, 16, 20, 40, 64, 70, 130, 260].map((count) => [`${count} rows`, rows(count)]),
  ),
  'a prompt': [prefill(2, 150, 0)],
  'prompts, one of them continued': [prefill(2, 20, 0), prefill(5, 300, 30), prefill(-1, 3, 0)],
  'rows and a prompt': [decode(3), decode(4), prefill(6, 33, 0)],
};
/** So wide that workgroups share an out-projection's inputs, as its outputs are few. */
const USUAL = { hiddenSize: 256, headDim: 128 };
/** So wide that they do with many outputs. */
const WIDE = { hiddenSize: 1152, headDim: 576 };
/** Formats of blocks whose weights `someBlocks` makes about as large as layers have them. */
const BLOCKS = ['MXFP4', 'NVFP4', 'INT4_G32', 'INT4_G64', 'INT4_G128', 'INT8_G128', 'F8_E4M3'] as const;
const LAYERS = [
  { groups: 1, dtype: 'float16', ...USUAL },
  { groups: 4, dtype: 'float16', ...USUAL },
  { groups: 4, dtype: 'float16', ...WIDE },
  { groups: 2, dtype: 'bfloat16', ...USUAL },
  { groups: 1, dtype: 'int8', ...USUAL },
  { groups: 1, dtype: 'int4', ...USUAL },
  { groups: 1, dtype: 'float32', ...USUAL },
  ...BLOCKS.map((dtype) => ({ groups: 1, dtype, ...USUAL })),
] as const;

/** What the reference makes of them, which is the same for all variants. */
const expected = new Map<string, Promise<Float32Array[]>>();

async function describeLayers(options: GpuDeviceOptions, hasMatrices: boolean): Promise<void> {
  for (const shape of LAYERS) {
    const { groups, dtype, hiddenSize } = shape;
    const backend = new WebGpuBackend(await requestGpuDevice(options));
    const model = await makeLayers(backend, shape);
    const most = hasMatrices && dtype !== 'float32' ? 2.5e-2 : 2e-4;
    describe(`layers of ${dtype}, ${groups} groups, ${hiddenSize} wide`, () => {
      for (const [name, batch] of Object.entries(BATCHES)) {
        const slots = 1 + Math.max(...batch.map(({ slot }) => slot));
        // Every number of rows with float16, which has the most kernels.
        if (slots > 20 && (dtype !== 'float16' || groups !== 1) && slots !== 70) continue;
        // What the reference takes seconds for.
        if (hiddenSize === WIDE.hiddenSize && slots !== 9 && slots !== 70) continue;
        test(name, async () => {
          const key = `${dtype} ${groups} ${hiddenSize} ${name}`;
          const known = expected.get(key) ?? reference(shape, batch, slots);
          expected.set(key, known);
          const off = worst(await runLayers(backend, model, batch, slots), await known);
          // NaN is more, too.
          if (!(off <= most)) throw new Error(`differs by ${off}, expected ${most} at most`);
        });
      }
    });
  }
}

async function reference(
  shape: Parameters<typeof makeLayers>[1],
  batch: readonly ScheduledSequence[],
  slots: number,
): Promise<Float32Array[]> {
  const backend = new ReferenceBackend();
  return runLayers(backend, await makeLayers(backend, shape), batch, slots);
}

function describeGoldens(): void {
  for (const name of GOLDENS ? ARCHITECTURES : []) {
    test(`golden ${name}`, async () => {
      const folder = `${GOLDENS}/${name}`;
      const { input_ids, greedy } = JSON.parse(readFileSync(`${folder}/expected.json`, 'utf8')) as {
        readonly input_ids: number[];
        readonly greedy: number[];
      };
      const source = await openFile(`${folder}/expected.safetensors`);
      const expected = await (await SafetensorsFile.open(source)).readFloat32('logits');
      await source.close();
      const llm = await LLM.load(folder, { device: 'webgpu', dtype: 'float32' });
      try {
        const logits = await llm.logits(input_ids);
        const off = logits.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i])), 0);
        process.stdout.write(`golden ${name}: logits differ by ${off.toExponential(1)}\n`);
        if (!(off <= 5e-3)) throw new Error(`logits differ by ${off}`);
        const { tokenIds } = await llm.complete(input_ids, {
          temperature: 0,
          maxTokens: greedy.length,
          ignoreEos: true,
        });
        expect([...tokenIds]).toEqual(greedy);
      } finally {
        await llm.dispose();
      }
    });
  }
}

/** What llama.cpp made of GGUF files, which stay in their blocks here. */
function describeGguf(): void {
  const folder = `${GOLDENS}/gguf`;
  const files = GOLDENS ? readdirSync(folder).filter((file) => file.endsWith('.gguf')) : [];
  for (const name of files.map((file) => file.slice(0, -'.gguf'.length))) {
    test(`golden ${name}`, async () => {
      const golden = JSON.parse(readFileSync(`${folder}/${name}.json`, 'utf8')) as {
        readonly vocab: number;
        readonly input_ids: number[];
        readonly rows: number[];
      };
      const { vocab, rows, input_ids } = golden;
      const expected = new Float32Array(Uint8Array.from(readFileSync(`${folder}/${name}.f32`)).buffer);
      const llm = await LLM.load(`${folder}/${name}.gguf`, { device: 'webgpu' });
      try {
        const logits = await llm.logits(input_ids);
        const known = rows.flatMap((row) => [...logits.slice(row * vocab, (row + 1) * vocab)]);
        const off = known.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i])), 0);
        process.stdout.write(`golden ${name}: logits differ by ${off.toExponential(1)}\n`);
        // Subgroup matrices round weights and activations to float16.
        if (!(off <= (info.hasMatrices ? 2.5e-2 : 1e-3))) throw new Error(`logits differ by ${off}`);
      } finally {
        await llm.dispose();
      }
    });
  }
}

/** → how many failed. */
async function report(what: string): Promise<number> {
  const begin = performance.now();
  const results = await runCases();
  const failed = results.filter(({ failure }) => failure !== undefined);
  const seconds = ((performance.now() - begin) / 1000).toFixed(1);
  process.stdout.write(`${what}: ${results.length - failed.length} of ${results.length} pass, ${seconds} s\n`);
  for (const { name, failure } of failed) process.stdout.write(`  FAILED ${name}: ${failure?.slice(0, 300)}\n`);
  return failed.length;
}

const info = await describeGpu();
if (ONLY === undefined) process.stdout.write(`${JSON.stringify(info)}\n`);
let failures = 0;
/** Each part in a process of its own: it has its devices to itself, and what crashes is one part. */
const part = async (name: string, define: () => void | Promise<void>) => {
  if (ONLY === undefined) {
    const { status } = spawnSync(process.execPath, [PROGRAM, GOLDENS ?? '', name], { stdio: 'inherit' });
    if (status !== 0) failures++;
  } else if (name.includes(ONLY)) {
    await define();
    failures += await report(name);
  }
};
await part('golden models', describeGoldens);
await part('golden GGUF files', describeGguf);
for (const [variant, options] of Object.entries(VARIANTS)) {
  const hasMatrices =
    info.hasMatrices && !options.withoutFeatures?.some((feature) => MATRIX_FEATURES.includes(feature));
  await part(`${variant}: layers`, () => describeLayers(options, hasMatrices));
  await part(`${variant}: backend suite`, () => {
    for (const describeSection of Object.values(SECTIONS)) {
      describeSection(() => createWebGpuBackend(options), hasMatrices ? MATRIX_DEMANDS : WEBGPU_DEMANDS);
    }
  });
}
process.exit(failures === 0 ? 0 : 1);

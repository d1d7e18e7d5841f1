import { spawnSync } from 'node:child_process';
import { createWebGpuBackend } from '../../src/backends/webgpu/create-backend.ts';
import { describeGpu } from '../../src/backends/webgpu/device/find-gpu.ts';
import { type GpuDeviceOptions, requestGpuDevice } from '../../src/backends/webgpu/device/gpu-device.ts';
import { WebGpuBackend } from '../../src/backends/webgpu/webgpu-backend.ts';
import { SECTIONS } from '../backends/suite/backend-suite.ts';
import type { Demands } from '../backends/suite/harness.ts';
import { WEBGPU_DEMANDS } from '../backends/webgpu/demands.ts';
import { describeGguf, describeGoldens } from './golden-cases.ts';
import { describeLayers } from './layer-cases.ts';
import { report } from './report.ts';

/**
 * What must hold on the machine's own GPU, whichever that is: `npm run test:gpu`. It is built to one file, which needs Node,
 * the package and a GPU only. Usage: node own-gpu.js [FOLDER_OF_GOLDENS [PART]], where the part's
 * name holds the last argument: 'suite', or 'no subgroups: layers'.
 */
const [, PROGRAM, GOLDENS, ONLY] = process.argv;
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

const info = await describeGpu();
if (ONLY === undefined) process.stdout.write(`${JSON.stringify(info)}\n`);
let failures = 0;
/** Each part in a process of its own: it has its devices to itself, and what crashes is one part. */
const part = async (name: string, define: () => unknown) => {
  if (ONLY === undefined) {
    const { status } = spawnSync(process.execPath, [PROGRAM, GOLDENS ?? '', name], { stdio: 'inherit' });
    if (status !== 0) failures++;
  } else if (name.includes(ONLY)) {
    await define();
    failures += await report(name);
  }
};
// Subgroup matrices round weights and activations to float16.
await part('golden models', () => GOLDENS && describeGoldens(GOLDENS, 'webgpu'));
await part('golden GGUF files', () => GOLDENS && describeGguf(GOLDENS, 'webgpu', info.hasMatrices ? 2.5e-2 : 1e-3));
for (const [variant, options] of Object.entries(VARIANTS)) {
  const hasMatrices =
    info.hasMatrices && !options.withoutFeatures?.some((feature) => MATRIX_FEATURES.includes(feature));
  await part(`${variant}: layers`, () => {
    const makeBackend = async () => new WebGpuBackend(await requestGpuDevice(options));
    return describeLayers(makeBackend, (dtype) => (hasMatrices && dtype !== 'float32' ? 2.5e-2 : 2e-4));
  });
  await part(`${variant}: backend suite`, () => {
    for (const describeSection of Object.values(SECTIONS)) {
      describeSection(() => createWebGpuBackend(options), hasMatrices ? MATRIX_DEMANDS : WEBGPU_DEMANDS);
    }
  });
}
process.exit(failures === 0 ? 0 : 1);

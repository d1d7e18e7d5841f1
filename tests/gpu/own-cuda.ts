import { createCudaBackend } from '../../src/backends/cuda/create-backend.ts';
import { describeAllCuda } from '../../src/backends/cuda/device/cuda-info.ts';
import { describeChunks } from '../backends/cuda/chunks.ts';
import { CUDA_DEMANDS } from '../backends/cuda/demands.ts';
import { describeExpertVisits } from '../backends/cuda/expert-visits.ts';
import { describeFusions } from '../backends/cuda/fusions.ts';
import { describeMatmulPrecision } from '../backends/cuda/matmul-precision.ts';
import { describeRowBits } from '../backends/cuda/row-bits.ts';
import { describeSteps } from '../backends/cuda/steps.ts';
import { SECTIONS } from '../backends/suite/backend-suite.ts';
import { describeSampling } from '../backends/suite/sampling.ts';
import { describeGguf, describeGoldens } from './golden-cases.ts';
import { describeLayers } from './layer-cases.ts';
import { DECODE_ALONE, decodeAlone, describeOneLaunch } from './one-launch.ts';
import { report } from './report.ts';

/**
 * What must hold on the machine's own NVIDIA GPU: `npm run test:cuda`. It is built to one file, which needs Node, the package
 * koffi and a driver only. Usage: node own-cuda.js [FOLDER_OF_GOLDENS [PART]], where the part's name holds the last argument.
 */
const [, , GOLDENS, ONLY = ''] = process.argv;

// What the last part starts.
if (GOLDENS === DECODE_ALONE) {
  await decodeAlone();
  process.exit(0);
}

/** Rows of a batch of layers: what changes with more has tests of its own. */
const MOST_LAYER_ROWS = 40;

let failures = 0;
const part = async (name: string, define: () => unknown) => {
  if (!name.includes(ONLY)) return;
  await define();
  failures += await report(name);
};

const backend = await createCudaBackend();
process.stdout.write(`${JSON.stringify(backend.info)}\n`);
backend.dispose();
await part('backend suite', () => {
  for (const describeSection of Object.values(SECTIONS)) describeSection(() => createCudaBackend(), CUDA_DEMANDS);
});
await part('sampling', () => describeSampling(() => createCudaBackend()));
await part('steps', () => describeSteps(() => createCudaBackend()));
await part('fusions', () => describeFusions(() => createCudaBackend()));
await part('chunks', () => describeChunks((matmulPrecision) => createCudaBackend({ matmulPrecision })));
await part('rows', () => {
  const rows = [1, 8, 9, 16, 17, 32, 33, 64, 65, 128, 200, 520];
  const sizes = { inputs: 1000, outputs: 3300, rows };
  describeRowBits(() => createCudaBackend(), sizes);
  describeMatmulPrecision((matmulPrecision) => createCudaBackend({ matmulPrecision }), sizes);
});
await part('experts', () => describeExpertVisits(() => createCudaBackend()));
await part('golden models', () => GOLDENS && describeGoldens(GOLDENS, 'cuda'));
await part('golden models on two GPUs', async () => {
  if (!GOLDENS || (await describeAllCuda()).length < 2) return;
  // Ranks are processes, whose script is the package's.
  const workers = { rank: new URL('../dist/engine/ranks/rank-worker.js', import.meta.url) };
  describeGoldens(GOLDENS, 'cuda', { tensorParallelSize: 2, workers });
});
await part('golden GGUF files', () => GOLDENS && describeGguf(GOLDENS, 'cuda', 1e-3));
await part('layers', () =>
  describeLayers(
    () => createCudaBackend(),
    () => 2e-4,
    MOST_LAYER_ROWS,
  ),
);
// Last: blocks that wait for each other may hang.
await part('one launch', () => describeOneLaunch());
process.exit(failures === 0 ? 0 : 1);

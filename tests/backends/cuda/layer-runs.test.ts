import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import type { Backend } from '../../../src/backends/contract/backend.ts';
import { CudaBackend } from '../../../src/backends/cuda/cuda-backend.ts';
import { CudaDevice } from '../../../src/backends/cuda/device/cuda-device.ts';
import { CudaDriver } from '../../../src/backends/cuda/device/driver.ts';
import type { Tensor } from '../../../src/tensor/tensor.ts';
import { SeededRandom } from '../../layers/seeded.ts';
import { need } from '../../needs/needs.ts';
import { expectSame } from '../suite/harness.ts';
import { buildEmulatedDriver, type EmulatedDriver } from './emulated-driver.ts';

/** Columns of a state, and taps of a convolution: those that have the kernel. */
const [N, TAPS] = [128, 4] as const;
const LAYERS = 3;
/** The first runs launch by launch, the second is captured. */
const STEPS = 2;

/** Sizes of a model: H heads of P channels in G groups. */
interface Sizes {
  readonly hidden: number;
  readonly H: number;
  readonly P: number;
  readonly G: number;
  readonly dtype: 'float16' | 'bfloat16';
  /** Blocks that the GPU runs at a time. */
  readonly multiprocessors: number;
  /** Bytes of shared memory that a block has: kernels differ by what they take. */
  readonly sharedBytes: number;
  /** Outputs of a head after the layers. Default: there is none. */
  readonly vocabulary?: number;
  /** Whether something reads what a layer has made within. */
  readonly readsLayers?: boolean;
  /** Default: {@link STEPS}. */
  readonly steps?: number;
}

/** A model for which the kernel of the smallest sizes is taken. */
const SMALL: Sizes = { hidden: 72, H: 3, P: 16, G: 1, dtype: 'float16', multiprocessors: 3, sharedBytes: 227 * 1024 };

describe.runIf(need('g++'))('layers of one row in one launch', () => {
  let driver: EmulatedDriver;
  beforeAll(async () => {
    driver = await buildEmulatedDriver(
      ['FLOAT16', 'BFLOAT16'],
      [
        ['layers-2', 'FLOAT16'],
        ['layers-5', 'FLOAT16'],
        ['layers-5', 'BFLOAT16'],
        ['layers-8', 'BFLOAT16'],
        ['layers-8', 'FLOAT16'],
      ],
    );
  });
  afterEach(() => {
    vi.unstubAllEnvs();
  });
  afterAll(() => driver.dispose());

  test.each<Sizes & { readonly kernel: string }>([
    { ...SMALL, vocabulary: 300, steps: 4, kernel: 'mamba_layers_2_FLOAT16' },
    { ...SMALL, hidden: 40, H: 6, G: 2, dtype: 'bfloat16', sharedBytes: 99 * 1024, kernel: 'mamba_layers_8_BFLOAT16' },
    // Several quads of a group for a thread.
    {
      ...{ hidden: 8, H: 18, P: 64, G: 1, dtype: 'float16', multiprocessors: 19, sharedBytes: 99 * 1024 },
      ...{ vocabulary: 50, kernel: 'mamba_layers_8_FLOAT16' },
    },
    // Blocks that have nothing.
    { ...SMALL, hidden: 8, H: 2, P: 8, G: 2, multiprocessors: 18, kernel: 'mamba_layers_2_FLOAT16' },
    // Whole rows in a ring, which goes round several times.
    {
      ...{ ...SMALL, hidden: 96, H: 12, G: 3, multiprocessors: 5, vocabulary: 300, steps: 4 },
      ...{ kernel: 'mamba_layers_5_FLOAT16' },
    },
    {
      ...{ hidden: 1056, H: 6, P: 64, G: 1, dtype: 'bfloat16', multiprocessors: 19, sharedBytes: 99 * 1024 },
      ...{ vocabulary: 50, kernel: 'mamba_layers_5_BFLOAT16' },
    },
    { ...SMALL, hidden: 32, H: 3, P: 32, G: 3, multiprocessors: 34, kernel: 'mamba_layers_5_FLOAT16' },
  ])('give the same bits as one after another: %o', async ({ kernel, ...sizes }) => {
    const before = driver.cooperativeLaunches();
    const joined = await decode(driver, sizes, true);
    expect(joined.joiningKernels).toEqual([kernel]);
    expect(driver.cooperativeLaunches() - before).toBe((sizes.steps ?? STEPS) - 1);
    const alone = await decode(driver, sizes, false);
    expect(driver.cooperativeLaunches() - before).toBe((sizes.steps ?? STEPS) - 1);
    expectAlike(joined, alone);
  });

  test('are not joined where something else of them is read', async () => {
    const sizes = { ...SMALL, readsLayers: true };
    const before = driver.cooperativeLaunches();
    const read = await decode(driver, sizes, true);
    expect(driver.cooperativeLaunches()).toBe(before);
    expect(read.captures).toBe(2);
    expectAlike(read, await decode(driver, sizes, false));
  });

  test.each([
    { oneLaunch: undefined, capability: '90', kernels: ['mamba_layers_2_FLOAT16'] },
    // A kernel that is faster for larger models only.
    { oneLaunch: undefined, capability: '90', sharedBytes: 99 * 1024, kernels: [] },
    { oneLaunch: '1', capability: '90', sharedBytes: 99 * 1024, kernels: ['mamba_layers_8_FLOAT16'] },
    { oneLaunch: '0', capability: '90', kernels: [] },
    { oneLaunch: undefined, capability: '89', kernels: [] },
  ])(
    'are joined where that is faster, or as the environment says, on Hopper and newer: %o',
    async ({ oneLaunch, capability, kernels, sharedBytes = SMALL.sharedBytes }) => {
      vi.stubEnv('MAMBA2_CUDA_ONE_LAUNCH', oneLaunch);
      const before = driver.cooperativeLaunches();
      pretend({ ...SMALL, sharedBytes }, capability);
      const device = await CudaDevice.open({ library: driver.library });
      const { joiningKernels, captures } = await decodeOn(device, SMALL);
      expect([joiningKernels, captures]).toEqual([kernels, 1]);
      expect(driver.cooperativeLaunches() - before).toBe(kernels.length);
    },
  );
});

function expectAlike(found: Decoded, expected: Decoded) {
  for (const [i, values] of expected.values.entries()) expectSame(found.values[i], values, `result ${i}`);
}

interface Layer {
  readonly norm: Tensor;
  readonly inProj: ReturnType<Backend['linearWeight']>;
  readonly conv: Tensor;
  readonly convBias: Tensor;
  readonly A: Tensor;
  readonly D: Tensor;
  readonly dtBias: Tensor;
  readonly gatedNorm: Tensor;
  readonly outProj: ReturnType<Backend['linearWeight']>;
  readonly convStates: Tensor;
  readonly ssmStates: Tensor;
}

interface Decoded {
  /** What layers make of a row in some steps, of which all but the first are a graph, and the states that they leave. */
  readonly values: readonly Float32Array[];
  /** Kernels for whole layers that were loaded. */
  readonly joiningKernels: readonly string[];
  readonly captures: number;
}

/** What the emulated GPU says of itself from now on. */
function pretend({ multiprocessors, sharedBytes }: Sizes, capability: string): void {
  vi.stubEnv('EMULATED_CAPABILITY', capability);
  vi.stubEnv('EMULATED_MULTIPROCESSORS', `${multiprocessors}`);
  vi.stubEnv('EMULATED_SHARED_BYTES', `${sharedBytes}`);
}

/** Lets layers decode a row, in one launch or one after another. */
async function decode({ library }: EmulatedDriver, sizes: Sizes, isJoined: boolean): Promise<Decoded> {
  pretend(sizes, '90');
  // The emulated driver has its kernels already.
  const oneLaunch = isJoined ? 'always' : 'never';
  return decodeOn(new CudaDevice(await CudaDriver.load(library), new Map(), 0, oneLaunch), sizes);
}

async function decodeOn(device: CudaDevice, sizes: Sizes): Promise<Decoded> {
  const { functions } = device.driver;
  const joiningKernels: string[] = [];
  let captures = 0;
  const watched: Partial<typeof functions> = {
    cuModuleGetFunction: (kernel, module, name) => {
      if (name.startsWith('mamba_layers')) joiningKernels.push(name);
      return functions.cuModuleGetFunction(kernel, module, name);
    },
    cuStreamBeginCapture: (stream, mode) => {
      captures++;
      return functions.cuStreamBeginCapture(stream, mode);
    },
  };
  Object.assign(device.driver, { functions: { ...functions, ...watched } });
  const made = new CudaBackend(device);
  const random = new SeededRandom(5);
  const layers = Array.from({ length: LAYERS }, () => layerOf(made, sizes, random));
  const table = made.linearWeight(random.floats(7 * sizes.hidden), 7, sizes.hidden, 'float16');
  const vocabulary = sizes.vocabulary ?? 1;
  const head = made.linearWeight(random.floats(vocabulary * sizes.hidden), vocabulary, sizes.hidden, sizes.dtype);
  const outputs: Promise<Float32Array>[] = [];
  const run = (n: number) =>
    made.step({
      variant: {},
      inputs: { ids: Int32Array.of(n), slots: Int32Array.of(1) },
      compute: ({ ids, slots }) => {
        let x: Tensor = made.embedding(ids, table);
        let projected: Tensor | undefined;
        for (const layer of layers) [x, projected] = forward(made, sizes, layer, x, slots);
        if (sizes.readsLayers && projected) {
          const [first] = made.splitColumns(projected, [sizes.hidden, projected.shape[1] - sizes.hidden]);
          return { out: made.add(first, x) };
        }
        return {
          out: sizes.vocabulary ? made.linear(made.rmsNorm(x, layers[0].norm, 1e-5), head) : made.mulScalar(x, 2),
        };
      },
    });
  for (let n = 0; n < (sizes.steps ?? STEPS); n++) outputs.push(made.read(run(n).out));
  for (const { convStates, ssmStates } of layers) outputs.push(made.read(convStates), made.read(ssmStates));
  const values = await Promise.all(outputs);
  made.dispose();
  return { values, joiningKernels, captures };
}

function layerOf(made: CudaBackend, { hidden, H, P, G, dtype }: Sizes, random: SeededRandom): Layer {
  const [inner, convolved] = [H * P, H * P + 2 * G * N];
  const projected = inner + convolved + H;
  const values = (...shape: number[]) => made.tensor(random.floats(shape.reduce((all, n) => all * n, 1)), shape);
  return {
    ...{ norm: values(hidden), inProj: made.linearWeight(random.floats(projected * hidden), projected, hidden, dtype) },
    ...{ conv: values(convolved, TAPS), convBias: values(convolved), A: values(H), D: values(H), dtBias: values(H) },
    ...{ gatedNorm: values(inner), outProj: made.linearWeight(random.floats(hidden * inner), hidden, inner, dtype) },
    ...{ convStates: made.zeros([2, convolved, TAPS - 1]), ssmStates: made.zeros([2, H, P, N]) },
  };
}

/** A layer as the model calls it. → its output with the residual, and what the in-projection made */
function forward(made: CudaBackend, { H, P, G }: Sizes, layer: Layer, x: Tensor, slots: Tensor): [Tensor, Tensor] {
  const inner = H * P;
  const projected = made.linear(made.rmsNorm(x, layer.norm, 1e-5), layer.inProj);
  const [gate, xBC, dt] = made.splitColumns(projected, [inner, inner + 2 * G * N, H]);
  const convolved = made.causalConv1dUpdate({
    ...{ x: xBC, weight: layer.conv, bias: layer.convBias, convState: layer.convStates },
    ...{ convStateIndices: slots, activation: 'silu' },
  });
  const [own, B, C] = made.splitColumns(convolved, [inner, G * N, G * N]);
  const { A, D, dtBias } = layer;
  const y = made.selectiveStateUpdate({
    ...{
      state: layer.ssmStates,
      x: own,
      dt,
      A,
      B,
      C,
      D,
      dtBias,
      nGroups: G,
      dtSoftplus: true,
      stateBatchIndices: slots,
    },
  });
  const layout = { firstColumn: 0, groupSize: inner / G };
  const gated = made.siluGate(y, gate);
  const scaled = made.scaleByGroupNorm(gated, made.groupSquareSums(gated, G, layout), layer.gatedNorm, 1e-5, layout);
  return [made.add(x, made.linear(scaled, layer.outProj)), projected];
}

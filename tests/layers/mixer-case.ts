import type { MambaMixer2Options } from '../../src/layers/mamba/mamba-mixer2-options.ts';
import { BlockwiseQuantization } from '../../src/layers/parameters/quantization.ts';
import { concatenated, SeededRandom } from './seeded.ts';

/** A mixer to test, as plain data: threads get it as a clone and make the same weights from the seed. */
export interface MixerCase {
  readonly hiddenSize: number;
  readonly numHeads: number;
  readonly headDim: number;
  readonly stateSize: number;
  readonly nGroups: number;
  readonly convKernel: number;
  readonly chunkSize: number;
  readonly useConvBias: boolean;
  readonly useBias: boolean;
  readonly useRmsNorm: boolean;
  readonly useMup: boolean;
  readonly activation: 'silu' | 'identity';
  readonly timeStepLimit?: readonly [number, number] | undefined;
  readonly quant?: 'int8' | 'int4' | undefined;
  readonly seed: number;
}

/** A small mixer with everything switched on, changed where a test says so. */
export function mixerCase(changes: Partial<MixerCase> = {}): MixerCase {
  return {
    hiddenSize: 6,
    numHeads: 4,
    headDim: 3,
    stateSize: 5,
    nGroups: 2,
    convKernel: 4,
    chunkSize: 4,
    useConvBias: true,
    useBias: true,
    useRmsNorm: true,
    useMup: false,
    activation: 'silu',
    seed: 7,
    ...changes,
  };
}

export function mixerOptions(config: MixerCase, prefix = 'mixer'): MambaMixer2Options {
  return {
    hiddenSize: config.hiddenSize,
    ssmStateSize: config.stateSize,
    convKernelSize: config.convKernel,
    intermediateSize: config.numHeads * config.headDim,
    useConvBias: config.useConvBias,
    useBias: config.useBias,
    nGroups: config.nGroups,
    numHeads: config.numHeads,
    headDim: config.headDim,
    activation: config.activation,
    useRmsNorm: config.useRmsNorm,
    quantConfig: config.quant && new BlockwiseQuantization(config.quant),
    prefix,
    chunkSize: config.chunkSize,
    timeStepLimit: config.timeStepLimit,
  };
}

/** Checkpoint tensors for these shapes, in ranges that trained mixers have. */
export function seededWeights(
  shapes: Iterable<readonly [name: string, shape: readonly number[]]>,
  seed: number,
): Record<string, Float32Array> {
  const random = new SeededRandom(seed);
  const weights: Record<string, Float32Array> = {};
  for (const [name, shape] of shapes) {
    const length = shape.reduce((product, extent) => product * extent, 1);
    const [low, high] = weightRange(name, shape);
    weights[name] = random.floats(length, low, high);
  }
  return weights;
}

function weightRange(name: string, shape: readonly number[]): readonly [number, number] {
  if (name.endsWith('A_log')) return [-1, 2];
  if (name.endsWith('dt_bias')) return [-3, 1];
  if (/norm(_f)?\.weight$/.test(name)) return [0.5, 1.5];
  if (name.endsWith('proj.weight')) return [-2 / Math.sqrt(shape[1]), 2 / Math.sqrt(shape[1])];
  return [-1, 1];
}

/** Factors for the whole in-projection's columns, as the checkpoint's rows are ordered. */
export function mupVector(config: MixerCase): Float32Array {
  const { numHeads: H, headDim: P, nGroups: G, stateSize: N } = config;
  return new SeededRandom(config.seed + 1).floats(2 * H * P + 2 * G * N + H, 0.5, 1.5);
}

/**
 * One rank's part of the mup vector. Its columns are those of its heads: their gates, inputs and time steps, and B and C of
 * each group that they read, once for as many heads in a row as no rank divides.
 */
export function mupShard(config: MixerCase, size: number, rank: number): Float32Array {
  const { numHeads: H, headDim: P, nGroups: G, stateSize: N } = config;
  const whole = mupVector(config);
  const [gate, x, B, C, dt] = [0, H * P, 2 * H * P, 2 * H * P + G * N, 2 * H * P + 2 * G * N];
  const heads = Array.from({ length: H / size }, (_, i) => (rank * H) / size + i);
  // Heads that share a group on one rank are as many on each.
  const headsPerGroup = H / leastCommonMultiple(G, size);
  const groups = heads.filter((_, i) => i % headsPerGroup === 0).map((head) => Math.floor((head * G) / H));
  const columns = (begin: number, width: number, units: readonly number[]) =>
    units.map((unit) => whole.subarray(begin + unit * width, begin + (unit + 1) * width));
  return concatenated([
    ...columns(gate, P, heads),
    ...columns(x, P, heads),
    ...columns(B, N, groups),
    ...columns(C, N, groups),
    ...columns(dt, 1, heads),
  ]);
}

function leastCommonMultiple(a: number, b: number): number {
  let multiple = a;
  while (multiple % b !== 0) multiple += a;
  return multiple;
}

import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createCudaBackend } from '../../../src/backends/cuda/create-backend.ts';
import type { Launch } from '../../../src/backends/cuda/launch/launch.ts';
import { canOverlap, Overlaps, withWaits } from '../../../src/backends/cuda/launch/overlap.ts';
import type { Tensor } from '../../../src/tensor/tensor.ts';
import { SeededRandom } from '../../layers/seeded.ts';
import { need } from '../../needs/needs.ts';
import { buildEmulatedDriver, type EmulatedDriver } from './emulated-driver.ts';

// A processor that runs kernels takes its time, and so does the compiler that makes them for it.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

describe('overlapping launches', () => {
  const launch = (name: string, parameters: object) => ({ name, parameters }) as unknown as Launch;
  const rows = (address: number) => ({ address, stride: 1 });
  const product = (out: number, convStates: number) => {
    return launch('linear_normed_16_FLOAT16', { out: rows(out), convStates, convSlots: 8, normWeight: rows(9) });
  };
  const state = (states: number, slots = 8) => launch('state_update_128', { out: rows(50), states, slots });

  test('begin after a kernel that waits, too', () => {
    const overlaps = new Overlaps();
    expect(overlaps.next(product(1, 10))).toBe(false);
    expect(overlaps.next(state(20))).toBe(true);
    expect(overlaps.next(product(2, 11))).toBe(true);
    expect(overlaps.next(launch('gather_rows', { out: rows(3) }))).toBe(false);
    expect(overlaps.next(product(4, 12))).toBe(false);
    overlaps.end();
    expect(overlaps.next(state(21))).toBe(false);
  });

  test('read nothing early that has been written since the run of them began', () => {
    const overlaps = new Overlaps();
    overlaps.next(product(1, 10));
    expect(overlaps.next(state(20))).toBe(true);
    expect(overlaps.next(product(2, 10))).toBe(false);
    expect(overlaps.next(state(20))).toBe(true);
    expect(overlaps.next(state(20))).toBe(false);
    expect(overlaps.next(launch('take_sampled', { outSlots: 8 }))).toBe(true);
    expect(overlaps.next(state(21))).toBe(false);
    expect(overlaps.next(launch('rms_norm', { weight: rows(50), out: rows(60) }))).toBe(false);
    expect(overlaps.next(launch('gated_norm', { weight: rows(60), out: rows(61) }))).toBe(false);
    expect(overlaps.next(launch('gated_norm', { weight: rows(9), out: rows(62) }))).toBe(true);
  });

  test('are for GPUs and drivers that know them, which get the PTX for it', () => {
    expect([canOverlap(90, 12_030), canOverlap(89, 13_000), canOverlap(90, 12_020)]).toEqual([true, false, false]);
    const text = (ptx: string) => new TextDecoder().decode(withWaits(new TextEncoder().encode(ptx)));
    expect(text('.version 7.4\n.target sm_80\n/*griddepcontrol.wait;*/\n\0')).toBe(
      '.version 7.8\n.target sm_90\ngriddepcontrol.wait;\n\0',
    );
    expect(text('.version 8.0\n.target sm_90a\n')).toBe('.version 8.0\n.target sm_90a\n');
  });
});

describe.runIf(need('g++'))('a layer of a graph', () => {
  let driver: EmulatedDriver;
  beforeAll(async () => {
    driver = await buildEmulatedDriver(['FLOAT16']);
  });
  afterAll(() => {
    driver.dispose();
    vi.unstubAllEnvs();
  });

  test('has the same bits where kernels may overlap, alone and next to others', async () => {
    const alone = await decode(driver, '80', 1);
    expect(await decode(driver, '90', 1)).toEqual(alone);
    const first = async (T: number) => (await decode(driver, '90', T)).map((rows) => rows.subarray(0, HIDDEN));
    expect(await first(3)).toEqual(alone);
    expect(await first(20)).toEqual(alone);
    // Enough for larger tiles.
    vi.stubEnv('EMULATED_SHARED_BYTES', '232448');
    vi.stubEnv('EMULATED_MULTIPROCESSORS', '5');
    expect(await first(20)).toEqual(alone);
  });
});

/** Sizes of a mixer layer: H heads of P channels with states of N. */
const [HIDDEN, H, P, N, TAPS] = [72, 2, 32, 64, 4] as const;
const INNER = H * P;
const CONVOLVED = INNER + 2 * N;
const PROJECTED = INNER + CONVOLVED + H;

/** What a layer makes of some rows in three steps, of which the last two are a graph. */
async function decode({ library }: EmulatedDriver, capability: string, T: number): Promise<Float32Array[]> {
  vi.stubEnv('EMULATED_CAPABILITY', capability);
  const made = await createCudaBackend({ library });
  const random = new SeededRandom(3);
  const values = (...shape: number[]) => made.tensor(random.floats(shape.reduce((all, n) => all * n, 1)), shape);
  const inProj = made.linearWeight(random.floats(PROJECTED * HIDDEN), PROJECTED, HIDDEN, 'float16');
  const outProj = made.linearWeight(random.floats(HIDDEN * INNER), HIDDEN, INNER, 'float16');
  const [norm, gatedNorm, conv, convBias] = [values(HIDDEN), values(INNER), values(CONVOLVED, TAPS), values(CONVOLVED)];
  const [A, D, dtBias, x] = [values(H), values(H), values(H), values(T, HIDDEN)];
  const states = { conv: made.zeros([T, CONVOLVED, TAPS - 1]), ssm: made.zeros([T, H, P, N]) };
  const layer = (slots: Tensor) => {
    const projected = made.linear(made.rmsNorm(x, norm, 1e-5), inProj);
    const [gate, xBC, dt] = made.splitColumns(projected, [INNER, CONVOLVED, H]);
    const convolved = made.causalConv1dUpdate({
      ...{ x: xBC, weight: conv, bias: convBias, convState: states.conv, convStateIndices: slots, activation: 'silu' },
    });
    const [own, B, C] = made.splitColumns(convolved, [INNER, N, N]);
    const y = made.selectiveStateUpdate({
      ...{ state: states.ssm, x: own, dt, A, B, C, D, dtBias, nGroups: 1, dtSoftplus: true, stateBatchIndices: slots },
    });
    const layout = { firstColumn: 0, groupSize: INNER };
    const gated = made.siluGate(y, gate);
    const scaled = made.scaleByGroupNorm(gated, made.groupSquareSums(gated, 1, layout), gatedNorm, 1e-5, layout);
    return made.add(x, made.linear(scaled, outProj));
  };
  const outputs: Float32Array[] = [];
  for (let n = 0; n < 3; n++) {
    const inputs = { slots: Int32Array.from({ length: T }, (_, t) => t) };
    const { out } = made.step({ variant: {}, inputs, compute: ({ slots }) => ({ out: layer(slots) }) });
    outputs.push(await made.read(out));
  }
  made.dispose();
  return outputs;
}

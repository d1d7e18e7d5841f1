import type { MixerCase } from './mixer-case.ts';

/** A whole sequence through a mixer, and the state that it leaves. */
export interface MixerOracleResult {
  /** (L, hiddenSize) */
  readonly output: Float64Array;
  /** (convDim, K - 1): the last inputs of the convolution, zeros before the sequence began. */
  readonly convState: Float64Array;
  /** (H, P, N) */
  readonly ssmState: Float64Array;
}

type Matrix = readonly Float64Array[];

/**
 * The mixer in float64, straight from its mathematics, for one sequence from its first token: no cache, no chunks, no
 * ranks, and no recurrence either, but the sum that the recurrence unrolls to:
 *
 *     h_t = Σ_{s <= t} exp(A Σ_{s < r <= t} Δ_r) Δ_s x_s ⊗ B_s
 *
 * @param weights checkpoint tensors by name, row-major.
 * @param tokens (L, hiddenSize)
 * @param mup factors for the in-projection's columns.
 */
export function mixerOracle(
  config: MixerCase,
  weights: Readonly<Record<string, Float32Array>>,
  tokens: Float32Array,
  mup?: Float32Array,
): MixerOracleResult {
  const { hiddenSize, numHeads: H, headDim: P, stateSize: N, nGroups: G, convKernel: K } = config;
  const I = H * P;
  const convDim = I + 2 * G * N;
  const L = tokens.length / hiddenSize;

  const u = Array.from({ length: L }, (_, t) =>
    Float64Array.from(tokens.subarray(t * hiddenSize, (t + 1) * hiddenSize)),
  );
  const projected = affine(u, weights['in_proj.weight'], weights['in_proj.bias']).map((row) =>
    row.map((value, i) => value * (mup ? mup[i] : 1)),
  );
  const gate = projected.map((row) => row.subarray(0, I));
  const xBC = projected.map((row) => row.subarray(I, I + convDim));
  const delta = projected.map((row) => stepSizes(config, weights.dt_bias, row.subarray(I + convDim)));

  const activate = config.activation === 'identity' ? (v: number) => v : silu;
  const convolved = xBC.map((row, t) =>
    row.map((_, c) => {
      let sum = config.useConvBias ? weights['conv1d.bias'][c] : 0;
      for (let back = 0; back < K && back <= t; back++)
        sum += weights['conv1d.weight'][c * K + K - 1 - back] * xBC[t - back][c];
      return activate(sum);
    }),
  );

  const y = xBC.map(() => new Float64Array(I));
  const ssmState = new Float64Array(H * P * N);
  for (let h = 0; h < H; h++) {
    const A = -Math.exp(weights.A_log[h]);
    const group = Math.floor(h / (H / G));
    const B = (t: number, n: number) => convolved[t][I + group * N + n];
    const C = (t: number, n: number) => convolved[t][I + G * N + group * N + n];
    const state = (t: number, p: number, n: number) => {
      let sum = 0;
      let elapsed = 0;
      for (let s = t; s >= 0; s--) {
        sum += Math.exp(A * elapsed) * delta[s][h] * convolved[s][h * P + p] * B(s, n);
        elapsed += delta[s][h];
      }
      return sum;
    };
    for (let p = 0; p < P; p++) {
      for (let t = 0; t < L; t++) {
        y[t][h * P + p] = weights.D[h] * convolved[t][h * P + p];
        for (let n = 0; n < N; n++) y[t][h * P + p] += state(t, p, n) * C(t, n);
      }
      for (let n = 0; n < N; n++) ssmState[(h * P + p) * N + n] = L === 0 ? 0 : state(L - 1, p, n);
    }
  }

  const normed = y.map((row, t) =>
    gatedNormOracle(row, gate[t], G, config.useRmsNorm ? weights['norm.weight'] : undefined),
  );
  const output = new Float64Array(L * hiddenSize);
  affine(normed, weights['out_proj.weight'], weights['out_proj.bias']).forEach((row, t) => {
    output.set(row, t * hiddenSize);
  });

  const convState = new Float64Array(convDim * (K - 1));
  for (let c = 0; c < convDim; c++) {
    for (let back = 1; back <= K - 1 && back <= L; back++) convState[c * (K - 1) + K - 1 - back] = xBC[L - back][c];
  }
  return { output, convState, ssmState };
}

/** One row of the output norm. Without a weight the row is gated only. */
export function gatedNormOracle(
  x: ArrayLike<number>,
  gate: ArrayLike<number>,
  groups: number,
  weight: Float32Array | undefined,
  eps = 1e-5,
): Float64Array {
  const v = Float64Array.from(x, (value, i) => value * silu(gate[i]));
  if (!weight) return v;
  const size = v.length / groups;
  return v.map((value, i) => {
    const group = v.subarray(Math.floor(i / size) * size, (Math.floor(i / size) + 1) * size);
    const meanSquare = group.reduce((sum, other) => sum + other * other, 0) / size;
    return (value / Math.sqrt(meanSquare + eps)) * weight[i];
  });
}

/** x Wᵀ + b per row. */
export function affine(x: Matrix, weight: Float32Array, bias: Float32Array | undefined): Float64Array[] {
  return x.map((row) =>
    Float64Array.from({ length: weight.length / row.length }, (_, o) =>
      row.reduce((sum, value, i) => sum + value * weight[o * row.length + i], bias ? bias[o] : 0),
    ),
  );
}

function stepSizes({ timeStepLimit }: MixerCase, bias: Float32Array, dt: Float64Array): Float64Array {
  const [low, high] = timeStepLimit ?? [0, Number.POSITIVE_INFINITY];
  return dt.map((value, h) => Math.min(high, Math.max(low, Math.log1p(Math.exp(value + bias[h])))));
}

function silu(v: number): number {
  return v / (1 + Math.exp(-v));
}

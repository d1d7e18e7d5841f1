/** One sequence through a causal depthwise convolution. */
export interface ConvolutionProblem {
  readonly channels: number;
  readonly taps: number;
  /** (L, C) */
  readonly x: Float32Array;
  /** (C, K) */
  readonly weight: Float32Array;
  /** (C) */
  readonly bias?: Float32Array | undefined;
  readonly silu: boolean;
  /** (C, W): what came before x, oldest first; zeros before that. */
  readonly past: Float32Array;
}

/** out (L, C), and the last W inputs of [past | x] as (C, W). */
export function convolveSequence(problem: ConvolutionProblem): { out: Float64Array; past: Float32Array } {
  const { channels: C, taps: K, x, weight, bias, silu, past } = problem;
  const L = x.length / C;
  const W = past.length / C;
  const out = new Float64Array(L * C);
  const newPast = new Float32Array(C * W);
  for (let c = 0; c < C; c++) {
    const line = new Float64Array(W + L);
    for (let i = 0; i < W; i++) line[i] = past[c * W + i];
    for (let t = 0; t < L; t++) line[W + t] = x[t * C + c];
    for (let t = 0; t < L; t++) {
      let v = bias ? bias[c] : 0;
      for (let lag = 0; lag < K; lag++) {
        const position = W + t - lag;
        if (position >= 0) v += weight[c * K + K - 1 - lag] * line[position];
      }
      out[t * C + c] = silu ? v / (1 + Math.exp(-v)) : v;
    }
    for (let i = 0; i < W; i++) newPast[c * W + i] = line[L + i];
  }
  return { out, past: newPast };
}

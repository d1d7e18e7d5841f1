/** One sequence through the selective state-space recurrence, all arguments in their full shapes. */
export interface RecurrenceProblem {
  readonly tokens: number;
  /** H */
  readonly heads: number;
  /** P */
  readonly headDim: number;
  /** N */
  readonly stateSize: number;
  /** G */
  readonly groups: number;
  /** (T, H, P) */
  readonly x: ArrayLike<number>;
  /** (T, H, P): step sizes, ready to use. */
  readonly delta: ArrayLike<number>;
  /** (H, P, N) */
  readonly A: ArrayLike<number>;
  /** (T, G, N) */
  readonly B: ArrayLike<number>;
  /** (T, G, N) */
  readonly C: ArrayLike<number>;
  /** (H, P) */
  readonly D?: ArrayLike<number> | undefined;
  /** (T, H, P) */
  readonly z?: ArrayLike<number> | undefined;
  /** (H, P, N); default: zeros. */
  readonly initial?: ArrayLike<number> | undefined;
}

export interface RecurrenceResult {
  /** (T, H, P) */
  readonly y: Float64Array;
  /** (H, P, N) */
  readonly state: Float64Array;
}

/** Δ = clamp(softplus(dt + bias)), softplus in the form that neither overflows nor cancels. */
export function stepSize(dt: number, bias: number, useSoftplus: boolean, limit: readonly [number, number]): number {
  const v = dt + bias;
  const positive = useSoftplus ? Math.max(v, 0) + Math.log1p(Math.exp(-Math.abs(v))) : v;
  return Math.min(Math.max(positive, limit[0]), limit[1]);
}

/** The recurrence h_t = exp(A Δ_t) h_{t-1} + Δ_t x_t B_t, y_t = h_t C_t + D x_t, in float64, a state element at a time. */
export function recurrence(problem: RecurrenceProblem): RecurrenceResult {
  const { tokens: T, heads: H, headDim: P, stateSize: N, groups: G, x, delta, A, B, C, D, z } = problem;
  const state = Float64Array.from(problem.initial ?? new Float64Array(H * P * N));
  const y = new Float64Array(T * H * P);
  for (let head = 0; head < H; head++) {
    const group = Math.floor((head * G) / H);
    for (let channel = head * P; channel < (head + 1) * P; channel++) {
      for (let t = 0; t < T; t++) {
        const at = t * H * P + channel;
        const [step, rate] = [delta[at], A[channel * N]];
        const scaledX = step * x[at];
        const sharedDecay = Math.exp(rate * step);
        let sum = 0;
        for (let n = 0; n < N; n++) {
          const a = A[channel * N + n];
          // Mamba-2 has one rate per head; recomputing the same exponential N times would dominate the tests' time.
          const decay = a === rate ? sharedDecay : Math.exp(a * step);
          const h = decay * state[channel * N + n] + scaledX * B[(t * G + group) * N + n];
          state[channel * N + n] = h;
          sum += h * C[(t * G + group) * N + n];
        }
        if (D) sum += D[channel] * x[at];
        y[at] = z ? (sum * z[at]) / (1 + Math.exp(-z[at])) : sum;
      }
    }
  }
  return { y, state };
}

/**
 * The same in closed form, without a state (the dual of arXiv:2405.21060, section 5):
 * y_t = Σ_{s<=t} exp(A Σ_{s<r<=t} Δ_r) (C_t · B_s) Δ_s x_s + exp(A Σ_{r<=t} Δ_r) C_t · h_0. Quadratic in T.
 */
export function attentionForm(problem: RecurrenceProblem): Float64Array {
  const { tokens: T, heads: H, headDim: P, stateSize: N, groups: G, x, delta, A, B, C, D, z, initial } = problem;
  const y = new Float64Array(T * H * P);
  for (let channel = 0; channel < H * P; channel++) {
    const group = Math.floor(Math.floor(channel / P) / (H / G));
    const elapsed = [0];
    for (let t = 0; t < T; t++) elapsed.push(elapsed[t] + delta[t * H * P + channel]);
    for (let t = 0; t < T; t++) {
      const at = t * H * P + channel;
      let sum = D ? D[channel] * x[at] : 0;
      for (let n = 0; n < N; n++) {
        const a = A[channel * N + n];
        let h = initial ? Math.exp(a * elapsed[t + 1]) * initial[channel * N + n] : 0;
        for (let s = 0; s <= t; s++) {
          const then = s * H * P + channel;
          h += Math.exp(a * (elapsed[t + 1] - elapsed[s + 1])) * delta[then] * x[then] * B[(s * G + group) * N + n];
        }
        sum += h * C[(t * G + group) * N + n];
      }
      y[at] = z ? (sum * z[at]) / (1 + Math.exp(-z[at])) : sum;
    }
  }
  return y;
}

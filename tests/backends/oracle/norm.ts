/** The gated RMS norm of one matrix. */
export interface GatedNormProblem {
  readonly columns: number;
  /** (T, C) */
  readonly x: Float32Array;
  /** (T, C) */
  readonly z?: Float32Array | undefined;
  /** (C) */
  readonly weight: Float32Array;
  readonly eps: number;
  /** Columns that are normalised together. */
  readonly groupSize: number;
  readonly normBeforeGate: boolean;
}

export function silu(v: number): number {
  return v / (1 + Math.exp(-v));
}

/** norm(x * silu(z)) * weight, or norm(x) * weight * silu(z), in float64. */
export function gatedNorm(problem: GatedNormProblem): Float64Array {
  const { columns, x, z, weight, eps, groupSize, normBeforeGate } = problem;
  const out = new Float64Array(x.length);
  for (let begin = 0; begin < x.length; begin += groupSize) {
    const group = Array.from({ length: groupSize }, (_, i) => {
      const at = begin + i;
      return { at, gate: z ? silu(z[at]) : 1, scale: weight[at % columns] };
    });
    const value = (at: number, gate: number) => (normBeforeGate ? x[at] : x[at] * gate);
    const meanSquare = group.reduce((sum, { at, gate }) => sum + value(at, gate) ** 2, 0) / groupSize;
    for (const { at, gate, scale } of group) {
      out[at] = (value(at, gate) / Math.sqrt(meanSquare + eps)) * scale * (normBeforeGate ? gate : 1);
    }
  }
  return out;
}

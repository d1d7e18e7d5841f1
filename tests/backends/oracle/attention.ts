/** A sequence's keys, values and last queries. keys, values (context, kvHeads * D); query (rows, heads * D). */
export interface AttentionProblem {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly scale: number;
  /** Default: all keys. */
  readonly slidingWindow?: number | undefined;
  readonly query: Float32Array;
  readonly keys: Float32Array;
  readonly values: Float32Array;
}

/** Causal softmax attention in float64, with the whole matrix of scores. → (rows, heads * D) */
export function attention(problem: AttentionProblem): Float64Array {
  const { heads, kvHeads, headDim: D, scale, slidingWindow = Number.POSITIVE_INFINITY, query, keys, values } = problem;
  const rows = query.length / (heads * D);
  const context = keys.length / (kvHeads * D);
  const out = new Float64Array(query.length);
  for (let h = 0; h < heads; h++) {
    const kv = Math.floor((h * kvHeads) / heads);
    for (let i = 0; i < rows; i++) {
      const position = context - rows + i;
      const scores = Array.from({ length: position + 1 }, (_, j) => {
        if (j <= position - slidingWindow) return Number.NEGATIVE_INFINITY;
        let dot = 0;
        for (let d = 0; d < D; d++) dot += query[(i * heads + h) * D + d] * keys[(j * kvHeads + kv) * D + d];
        return dot * scale;
      });
      const shift = Math.max(...scores);
      const exponentials = scores.map((score) => Math.exp(score - shift));
      const total = exponentials.reduce((a, b) => a + b, 0);
      for (const [j, exponential] of exponentials.entries()) {
        for (let d = 0; d < D; d++) {
          out[(i * heads + h) * D + d] += (exponential / total) * values[(j * kvHeads + kv) * D + d];
        }
      }
    }
  }
  return out;
}

/** Heads rotated as complex numbers (x_i, x_{i+R/2}) e^{i p f}, in float64. x (T, C). */
export function rotate(
  x: Float32Array,
  columns: number,
  headDim: number,
  positions: readonly number[],
  frequencies: readonly number[],
): Float64Array {
  const half = frequencies.length;
  const out = Float64Array.from(x);
  for (const [t, position] of positions.entries()) {
    for (let head = t * columns; head < (t + 1) * columns; head += headDim) {
      for (let i = 0; i < half; i++) {
        const angle = Math.fround(position * frequencies[i]);
        const [re, im] = [x[head + i], x[head + half + i]];
        out[head + i] = re * Math.cos(angle) - im * Math.sin(angle);
        out[head + half + i] = re * Math.sin(angle) + im * Math.cos(angle);
      }
    }
  }
  return out;
}

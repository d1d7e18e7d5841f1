import type { MlpActivation } from '../../../src/backends/contract/activations.ts';
import type { RoutingOptions } from '../../../src/backends/contract/experts.ts';

/** Φ(v) by Simpson's rule over the normal density. */
function normalCdf(v: number): number {
  const [steps, end] = [4000, Math.min(Math.abs(v), 12)];
  const density = (u: number) => Math.exp((-u * u) / 2) / Math.sqrt(2 * Math.PI);
  let sum = density(0) + density(end);
  for (let i = 1; i < steps; i++) sum += (i % 2 === 0 ? 2 : 4) * density((i * end) / steps);
  const half = (sum * end) / (3 * steps);
  return v < 0 ? 0.5 - half : 0.5 + half;
}

export function activation(name: MlpActivation, v: number): number {
  switch (name) {
    case 'silu':
      return v / (1 + Math.exp(-v));
    case 'gelu':
      return v * normalCdf(v);
    case 'gelu_tanh':
      return 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v * v * v)));
    case 'relu':
      return v > 0 ? v : 0;
    case 'relu2':
      return v > 0 ? v * v : 0;
    case 'identity':
      return v;
  }
}

/** One token's weights for all experts, by looking at one expert after another. */
export function route(logits: readonly number[], options: RoutingOptions, bias?: readonly number[]): number[] {
  const { topK, scoring, numGroups = 1, topKGroups = numGroups, renormalize, scale = 1 } = options;
  const exponentials = logits.map((logit) => Math.exp(logit));
  const all = exponentials.reduce((a, b) => a + b, 0);
  const scores =
    scoring === 'softmax' ? exponentials.map((e) => e / all) : logits.map((logit) => 1 / (1 + Math.exp(-logit)));
  const choices = scores.map((score, e) => score + (bias?.[e] ?? 0));
  const size = logits.length / numGroups;
  const groups = Array.from({ length: numGroups }, (_, g) => {
    const [first, second = 0] = choices.slice(g * size, (g + 1) * size).sort((a, b) => b - a);
    return first + second;
  });
  const rank = (values: readonly number[], i: number) =>
    values.filter((value, j) => value > values[i] || (value === values[i] && j < i)).length;
  const visible = choices.map((choice, e) =>
    rank(groups, Math.floor(e / size)) < topKGroups ? choice : Number.NEGATIVE_INFINITY,
  );
  const weights = scores.map((score, e) => (rank(visible, e) < topK ? score : 0));
  const total = renormalize ? weights.reduce((a, b) => a + b, 0) : 1;
  return weights.map((weight) => (weight / total) * scale);
}

import type { Tensor } from '../../tensor/tensor.ts';
import type { MlpActivation } from '../contract/activations.ts';
import { checkExperts, checkRouting, type ExpertWeights, type RoutingOptions } from '../contract/experts.ts';
import { floats, HostTensor, hostZeros, vector } from '../contract/host-tensor.ts';
import { sigmoid, silu } from './activation.ts';
import { linear } from './dense.ts';

/**
 * Reference of {@link FeedForwardOps.activate}.
 *
 * @example
 * ```ts
 * const y = activate(hostTensor([-1, 2], [1, 2]), 'relu2'); // 0 and 4
 * ```
 */
export function activate(x: Tensor, activation: MlpActivation): HostTensor<Float32Array> {
  const [T, C] = x.shape;
  const values = floats(x, 'x', [null, null]);
  const f = FUNCTIONS[activation];
  const out = hostZeros([T, C]);
  for (let t = 0; t < T; t++) for (let c = 0; c < C; c++) out.data[t * C + c] = f(values.data[t * values.stride + c]);
  return out;
}

/**
 * Reference of {@link FeedForwardOps.activateAndMul}.
 *
 * @example
 * ```ts
 * const y = activateAndMul(hostTensor([-1, 2], [1, 2]), hostTensor([10, 10], [1, 2]), 'relu2'); // 0 and 40
 * ```
 */
export function activateAndMul(gate: Tensor, x: Tensor, activation: MlpActivation): HostTensor<Float32Array> {
  const [T, C] = x.shape;
  const values = floats(x, 'x', [null, null]);
  const gates = floats(gate, 'gate', [T, C]);
  const f = FUNCTIONS[activation];
  const out = hostZeros([T, C]);
  for (let t = 0; t < T; t++) {
    for (let c = 0; c < C; c++) {
      out.data[t * C + c] = f(gates.data[t * gates.stride + c]) * values.data[t * values.stride + c];
    }
  }
  return out;
}

const FUNCTIONS: Readonly<Record<MlpActivation, (v: number) => number>> = {
  silu,
  gelu: (v) => (v * (1 + erf(v / Math.SQRT2))) / 2,
  gelu_tanh: (v) => (v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)))) / 2,
  relu: (v) => Math.max(v, 0),
  relu2: (v) => Math.max(v, 0) ** 2,
  identity: (v) => v,
};

/** 2/√π e^(-v²) Σ 2ⁿ v^(2n+1) / (2n+1)!!, whose terms all have one sign (Abramowitz and Stegun, 7.1.6). */
function erf(v: number): number {
  if (Math.abs(v) > 6) return Math.sign(v);
  let term = v;
  let sum = v;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (2 * v * v) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-v * v) * sum;
}

/**
 * Reference of {@link FeedForwardOps.topKRouting}.
 *
 * @example
 * ```ts
 * // One token, three experts: it visits the two with the highest logits.
 * const routing = topKRouting(hostTensor([0, 1, 2], [1, 3]), { topK: 2, scoring: 'softmax', renormalize: true });
 * ```
 */
export function topKRouting(
  logits: Tensor,
  options: RoutingOptions,
  correctionBias?: Tensor,
): HostTensor<Float32Array> {
  const [T, E] = logits.shape;
  const rows = floats(logits, 'logits', [null, null]);
  const bias = correctionBias && vector(correctionBias, 'correctionBias', E);
  checkRouting(E, options);
  const { topK, scoring, numGroups = 1, topKGroups = numGroups, renormalize, scale = 1 } = options;
  const out = hostZeros([T, E]);
  const groupOf = (expert: number) => Math.floor(expert / (E / numGroups));
  for (let t = 0; t < T; t++) {
    const row = Array.from(rows.data.subarray(t * rows.stride, t * rows.stride + E));
    const scores = scoring === 'sigmoid' ? row.map(sigmoid) : softmax(row);
    const choices = scores.map((score, e) => score + (bias?.[e] ?? 0));
    const groupScores = Array.from({ length: numGroups }, (_, g) => {
      const members = choices.filter((_, e) => groupOf(e) === g);
      return members
        .sort((a, b) => b - a)
        .slice(0, 2)
        .reduce((a, b) => a + b);
    });
    const groups = new Set(largest(groupScores, [...groupScores.keys()], topKGroups));
    const allowed = [...choices.keys()].filter((e) => groups.has(groupOf(e)));
    const chosen = largest(choices, allowed, topK);
    const total = chosen.reduce((sum, e) => sum + scores[e], 0);
    for (const e of chosen) out.data[t * E + e] = (renormalize ? scores[e] / (total + 1e-20) : scores[e]) * scale;
  }
  return out;
}

/** The `count` candidates of the largest values, equal ones in their order. */
function largest(values: readonly number[], candidates: readonly number[], count: number): number[] {
  return [...candidates].sort((a, b) => values[b] - values[a] || a - b).slice(0, count);
}

function softmax(row: readonly number[]): number[] {
  const most = row.reduce((a, b) => Math.max(a, b));
  const weights = row.map((value) => Math.exp(value - most));
  const total = weights.reduce((a, b) => a + b);
  return weights.map((weight) => weight / total);
}

/**
 * Reference of {@link FeedForwardOps.fusedMoe}.
 *
 * @example
 * ```ts
 * const expert = { up: hostLinearWeight([1, 0, 0, 1], 2, 2), down: hostLinearWeight([1, 0, 0, 1], 2, 2) };
 * const routing = hostTensor([0.25, 0.75], [1, 2]); // one token, two experts
 * const y = fusedMoe(hostTensor([1, 2], [1, 2]), routing, [expert, expert], 'relu2', false); // 1 and 4
 * ```
 */
export function fusedMoe(
  x: Tensor,
  routing: Tensor,
  experts: readonly ExpertWeights[],
  activation: MlpActivation,
  gated: boolean,
): HostTensor<Float32Array> {
  const [T, C] = x.shape;
  const rows = floats(x, 'x', [null, null]);
  const weights = floats(routing, 'routing', [T, experts.length]);
  const columns = checkExperts(experts, C, gated);
  const out = hostZeros([T, columns]);
  for (let t = 0; t < T; t++) {
    const row = new HostTensor(rows.data.subarray(t * rows.stride, t * rows.stride + C), [1, C]);
    const sums = new Float64Array(columns);
    for (const [e, expert] of experts.entries()) {
      const weight = weights.data[t * weights.stride + e];
      if (weight === 0) continue;
      const y = runExpert(row, expert, activation, gated);
      for (let c = 0; c < columns; c++) sums[c] += weight * y.data[c];
    }
    out.data.set(sums, t * columns);
  }
  return out;
}

function runExpert(
  row: HostTensor<Float32Array>,
  { up, down }: ExpertWeights,
  activation: MlpActivation,
  gated: boolean,
) {
  const hidden = linear(row, up);
  if (!gated) return linear(activate(hidden, activation), down);
  const half = up.outFeatures / 2;
  const [gate, value] = [0, half].map((begin) => new HostTensor(hidden.data.subarray(begin, begin + half), [1, half]));
  return linear(activateAndMul(gate, value, activation), down);
}

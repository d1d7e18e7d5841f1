import type { HalfLives } from '../server-client.ts';

/** Half-lives of all heads, layer by layer, in tokens; Infinity for heads that lose nothing. */
export interface MemoryReport {
  readonly layers: number;
  /** Number of heads of the layer that has most. */
  readonly heads: number;
  /** (layers, heads); NaN for heads that a layer lacks. */
  readonly values: Float32Array;
}

/** One layer in numbers. */
export interface LayerSummary {
  readonly shortest: number;
  readonly median: number;
  readonly longest: number;
}

export function memoryReport(halfLives: HalfLives): MemoryReport {
  const layers = halfLives.length;
  const heads = Math.max(0, ...halfLives.map(({ length }) => length));
  const values = new Float32Array(layers * heads).fill(Number.NaN);
  for (const [i, layer] of halfLives.entries()) {
    values.set(
      layer.map((value) => value ?? Number.POSITIVE_INFINITY),
      i * heads,
    );
  }
  return { layers, heads, values };
}

/** Average over several equally long stretches of text. Decays multiply, so the rates are averaged. */
export function averageReport(reports: readonly MemoryReport[]): MemoryReport | undefined {
  const last = reports.at(-1);
  if (!last) return undefined;
  const alike = reports.filter(({ layers, heads }) => layers === last.layers && heads === last.heads);
  const values = last.values.map(
    (_, i) => alike.length / alike.reduce((rates, report) => rates + 1 / report.values[i], 0),
  );
  return { ...last, values };
}

export function layerSummaries({ layers, heads, values }: MemoryReport): LayerSummary[] {
  return Array.from({ length: layers }, (_, i) => summary(values.subarray(i * heads, (i + 1) * heads)));
}

export function summary(values: Float32Array): LayerSummary {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort();
  return { shortest: sorted[0], median: sorted[Math.floor(sorted.length / 2)], longest: sorted[sorted.length - 1] };
}

/** Layer and head with the longest half-life. */
export function longestHead({ heads, values }: MemoryReport): { readonly layer: number; readonly head: number } {
  let at = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[at] || Number.isNaN(values[at])) at = i;
  return { layer: Math.floor(at / heads), head: at % heads };
}

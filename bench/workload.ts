import type { ModelShape } from '../src/bench/model-shapes.ts';

/** Work that both sides do. */
export interface Workload {
  readonly shape: ModelShape;
  readonly threads: number;
  readonly promptTokens: readonly number[];
  readonly generateTokens: number;
  /** Sequences decoded at once, besides one alone. */
  readonly sequences: number;
}

/** Tokens per second by the work's name; see {@link prefillName} and {@link decodeName}. */
export type Rates = ReadonlyMap<string, number>;

export const DTYPES = ['float32', 'bfloat16', 'int8', 'int4'] as const;
export type DType = (typeof DTYPES)[number];

export function prefillName(tokens: number): string {
  return `prefill ${tokens}`;
}

export function decodeName(sequences: number): string {
  return sequences === 1 ? 'decode' : `decode, ${sequences} sequences`;
}

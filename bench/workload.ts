import type { ModelShape } from '../src/engine/model-shapes.ts';

/** What both sides run. */
export interface Workload {
  readonly shape: ModelShape;
  readonly threads: number;
  readonly promptTokens: readonly number[];
  readonly generateTokens: number;
  /** Sequences decoded at once, beside one alone. */
  readonly sequences: number;
}

/** Tokens per second by the work's name; see {@link prefillName} and {@link decodeName}. */
export type Rates = ReadonlyMap<string, number>;

/** Ours on the left. Theirs of each is the type that stores about as many bits per weight. */
export const DTYPES = { float32: 'F32', bfloat16: 'BF16', int8: 'Q8_0', int4: 'Q4_0' } as const;
export type DType = keyof typeof DTYPES;

export function prefillName(tokens: number): string {
  return `prefill ${tokens}`;
}

export function decodeName(sequences: number): string {
  return sequences === 1 ? 'decode' : `decode, ${sequences} sequences`;
}

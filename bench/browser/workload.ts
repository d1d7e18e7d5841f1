import type { ModelShape } from '../../src/bench/model-shapes.ts';

/** Work that every contender does. */
export interface Workload {
  readonly shape: ModelShape;
  readonly threads: number;
  readonly promptTokens: number;
  readonly generateTokens: number;
}

/** Tokens per second. */
export interface Rates {
  readonly prefill: number;
  readonly decode: number;
}

export const WORKS = ['prefill', 'decode'] as const;

/** A library with one way of storing weights. */
export interface Contender {
  readonly library: 'mamba2' | 'wllama';
  readonly dtype: string;
}

/** Their F32 and Q8_0 are their quickest formats in a browser. */
export const THEIR_DTYPES = ['F32', 'Q8_0'] as const;
export const OUR_DTYPES = ['float32', 'bfloat16', 'int8', 'int4'] as const;

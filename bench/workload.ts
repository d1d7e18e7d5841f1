import type { ModelShape } from '../src/bench/model-shapes.ts';
import type { MatmulPrecision } from '../src/tensor/matmul-precision.ts';
import type { StateDType } from '../src/tensor/state-dtype.ts';

/** Work that both sides do. */
export interface Workload {
  readonly shape: ModelShape;
  readonly threads: number;
  readonly promptTokens: readonly number[];
  readonly generateTokens: number;
  /** Sequences decoded at once, besides one alone. */
  readonly sequences: number;
  /** Times that each work is repeated in a run; the median counts. llama.cpp decodes several sequences once. */
  readonly repetitions: number;
  /** What mamba2 keeps SSM states in; the others have float32. */
  readonly states: StateDType;
  /** How exactly products of mamba2 take activations on a GPU. */
  readonly matmulPrecision: MatmulPrecision;
}

/** Tokens per second by the work's name; see {@link prefillName} and {@link decodeName}. */
export type Rates = ReadonlyMap<string, number>;

/** Storage that each side makes of the same weights in its own format. */
export const DTYPES = ['float32', 'float16', 'bfloat16', 'int8', 'int4'] as const;
/** Quantizations of a GGUF file that both sides run as it is. */
export const QUANTIZATIONS = ['Q4_K_M', 'Q8_0', 'Q6_K', 'Q5_K_M', 'Q4_0', 'nvfp4'] as const;
export type Quantization = (typeof QUANTIZATIONS)[number];
export type DType = (typeof DTYPES)[number] | Quantization;

export function isQuantization(dtype: DType): dtype is Quantization {
  return QUANTIZATIONS.some((known) => known === dtype);
}

export function prefillName(tokens: number): string {
  return `prefill ${tokens}`;
}

export function decodeName(sequences: number): string {
  return sequences === 1 ? 'decode' : `decode, ${sequences} sequences`;
}

import { ArgumentError } from '../errors.ts';

/**
 * How exactly products take their activations, by PyTorch's names: `high` as the sum of two numbers of 16 bits, `medium` as
 * one, which takes less time where many rows are multiplied. Sums are float32 in any case. With `medium` prompts are scanned
 * by chunks on tensor cores as well, whose factors have 16 bits.
 */
export const MATMUL_PRECISIONS = ['high', 'medium'] as const;
export type MatmulPrecision = (typeof MATMUL_PRECISIONS)[number];

/** @throws ArgumentError */
export function parseMatmulPrecision(name: string): MatmulPrecision {
  const precision = MATMUL_PRECISIONS.find((known) => known === name);
  if (precision !== undefined) return precision;
  throw new ArgumentError(`matmulPrecision is '${name}'.`, `Use one of: ${MATMUL_PRECISIONS.join(', ')}.`);
}

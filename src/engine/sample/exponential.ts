/** Steps of the table per unit. */
const STEPS = 32;
/** Exponent below which exp is too small to change a 1 in double precision. */
const LOWEST = -40;
/** exp(-i / STEPS), by products: the same in every JavaScript engine. */
export const TABLE: Float64Array = makeTable();

/**
 * exp(x) for x <= 0, to 12 digits; 0 below -40. It rounds alike in every engine, so that a seed draws the same tokens.
 * This is the reference of what kernels/logits computes for whole vocabularies.
 *
 * x = r - k / STEPS with r in (-1 / STEPS, 0]: the table's entry times five terms of the series.
 */
export function exponential(x: number): number {
  if (!(x > LOWEST)) return 0;
  const k = (x * -STEPS) | 0;
  const r = x + k / STEPS;
  return TABLE[k] * (1 + r * (1 + r * (1 / 2 + r * (1 / 6 + r * (1 / 24 + r * (1 / 120))))));
}

function makeTable(): Float64Array {
  const table = new Float64Array(-LOWEST * STEPS + 1);
  table[0] = 1;
  // exp(-1 / 32)
  for (let i = 1; i < table.length; i++) table[i] = table[i - 1] * 0.9692332344763441;
  return table;
}

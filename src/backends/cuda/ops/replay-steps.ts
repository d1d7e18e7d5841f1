import type { ReplayedState } from '../../contract/state-space.ts';

/** State sizes that have kernels of their own. */
export const STATE_SIZES = [64, 128, 256] as const;
/** Steps after which float32 states are best written, as measured: see docs/cuda.md. */
const STEPS = 6;

/** See ReplayOps: a step of one row takes 2 % longer where it replays, one of 8 as long. */
export const FEWEST_ROWS = 8;

/** See ReplayOps. States of 16 bits are rounded after every token, which costs more than writing them. */
export function stepsOf({ shape: [, , N], dtype }: ReplayedState): number | undefined {
  if (!STATE_SIZES.some((size) => size === N)) return undefined;
  return dtype === 'float32' ? STEPS : 1;
}

import type { ReplayedState } from '../../contract/state-space.ts';

/** State sizes that have kernels of their own. */
export const STATE_SIZES = [64, 128, 256] as const;

/** The steps after which a state is best written: see ReplayOps. */
export function stepsOf({ shape: [, , N] }: ReplayedState): number | undefined {
  return STATE_SIZES.some((size) => size === N) ? 1 : undefined;
}

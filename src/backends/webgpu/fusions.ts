import type { Fusion } from './fuse.ts';

/** Neighbours that one kernel computes at once, the largest first. */
export const FUSIONS: readonly Fusion[] = [];

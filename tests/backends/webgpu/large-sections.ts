import type { SECTIONS } from '../suite/backend-suite.ts';

/** Sections of the backends' suite that have software compile very many kernels, or large ones. */
export const LARGE_SECTIONS: readonly (keyof typeof SECTIONS)[] = [
  'dense',
  'feedForward',
  'chunkScanBatches',
  'shortStatesInChunks',
  'splitProperties',
];

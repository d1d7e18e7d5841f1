import type { LaunchParameters } from './launch-parameters.ts';

const ANY = Number.POSITIVE_INFINITY;
const ALL = { minOutputs: 0, maxOutputs: ANY, minInputs: 0 };

/**
 * Measured on an H100 with the layers of mamba2-130m, mamba2-2.7b and Codestral Mamba 7B; states of 16 bits on an H200.
 */
export const NVIDIA_LAUNCH: LaunchParameters = {
  vector: [
    { maxRows: 1, ...ALL, minOutputs: 16384, rows: 8, blocking: 2, busy: 4600, maxParts: 16, ahead: 4 },
    { maxRows: 1, ...ALL, minOutputs: 6400, rows: 4, blocking: 8, busy: ANY, maxParts: 32, ahead: 5 },
    { maxRows: 1, ...ALL, minInputs: 4096, rows: 4, blocking: 2, busy: 4096, maxParts: 16, ahead: 2 },
    { maxRows: 1, ...ALL, rows: 8, blocking: 1, busy: 4600, maxParts: 16, ahead: 2 },
    { maxRows: 3, ...ALL, rows: 8, blocking: 2, busy: 2500, maxParts: 16, ahead: 2 },
    { maxRows: 4, ...ALL, rows: 8, blocking: 4, busy: 1250, maxParts: 16, ahead: 2 },
    { maxRows: 8, ...ALL, maxOutputs: 1024, rows: 2, blocking: 2, busy: 1500, maxParts: 8, ahead: 1 },
  ],
  matrixFew: [
    { maxRows: 16, ...ALL, minOutputs: 6400, minInputs: 4096, panels: 1, parts: 4, ahead: 8 },
    { maxRows: 16, ...ALL, minOutputs: 6400, panels: 2, parts: 4, ahead: 10 },
    { maxRows: 16, ...ALL, panels: 1, parts: 16, ahead: 8 },
    { maxRows: 32, ...ALL, minOutputs: 6400, panels: 1, parts: 4, ahead: 8 },
    { maxRows: 32, ...ALL, panels: 1, parts: 8, ahead: 5 },
    { maxRows: 64, ...ALL, maxOutputs: 6400, minInputs: 4096, panels: 1, parts: 4, ahead: 5 },
    { maxRows: 64, ...ALL, maxOutputs: 6400, minInputs: 1024, panels: 1, parts: 12, ahead: 4 },
    { maxRows: 64, ...ALL, maxOutputs: 6400, panels: 1, parts: 4, ahead: 6 },
  ],
  slicedFew: [
    { maxRows: 32, ...ALL, maxOutputs: 1024, panels: 1, parts: 4, ahead: 3, slices: 8 },
    { maxRows: 16, ...ALL, panels: 2, parts: 4, ahead: 10, slices: 8 },
    { maxRows: 64, ...ALL, maxOutputs: 1024, panels: 1, parts: 4, ahead: 6, slices: 4 },
  ],
  // biome-ignore format: one line for each entry
  matrixNormalising: [
    { maxRows: 16, minWorkgroups: 100, maxInputs: 1024, block: [16, 32], depth: 64, piece: [16, 16], band: 8, split: 8, stages: 2 },
    { maxRows: 16, minWorkgroups: 0, maxInputs: 2048, block: [16, 16], depth: 64, piece: [16, 16], band: 8, split: 8, stages: 3 },
  ],
  matrix: [
    { maxRows: 64, minWorkgroups: 100, block: [64, 160], depth: 32, piece: [32, 80], band: 8, split: 2, stages: 1 },
    { maxRows: 64, minWorkgroups: 100, block: [64, 96], depth: 64, piece: [16, 48], band: 8, split: 2, stages: 2 },
    { maxRows: 64, minWorkgroups: 0, block: [64, 32], depth: 32, piece: [32, 32], band: 8, split: 2, stages: 2 },
    { maxRows: 256, minWorkgroups: 300, block: [128, 96], depth: 32, piece: [32, 96], band: 8, split: 2, stages: 1 },
    { maxRows: 256, minWorkgroups: 150, block: [128, 96], depth: 32, piece: [64, 48], band: 8, split: 1, stages: 1 },
    { maxRows: ANY, minWorkgroups: 250, block: [128, 128], depth: 32, piece: [64, 64], band: 8, split: 1, stages: 1 },
    { maxRows: ANY, minWorkgroups: 150, block: [128, 64], depth: 32, piece: [64, 32], band: 8, split: 1, stages: 1 },
    { maxRows: ANY, minWorkgroups: 100, block: [128, 64], depth: 32, piece: [32, 32], band: 8, split: 2, stages: 2 },
    { maxRows: ANY, minWorkgroups: 100, block: [64, 96], depth: 32, piece: [32, 48], band: 8, split: 2, stages: 2 },
    { maxRows: ANY, minWorkgroups: 0, block: [64, 64], depth: 32, piece: [32, 32], band: 8, split: 4, stages: 1 },
  ],
  // biome-ignore format: one line for each entry
  slicedMatrix: [
    { maxRows: 64, minWorkgroups: 250, slices: 8, block: [64, 128], depth: 32, piece: [32, 64], band: 8, split: 1, stages: 2 },
    { maxRows: 64, minWorkgroups: 0, slices: 8, block: [64, 96], depth: 64, piece: [16, 48], band: 8, split: 1, stages: 2 },
    { maxRows: 256, minWorkgroups: 500, slices: 8, block: [128, 128], depth: 32, piece: [64, 64], band: 8, split: 1, stages: 1 },
    { maxRows: 256, minWorkgroups: 120, slices: 4, block: [128, 160], depth: 64, piece: [32, 80], band: 8, split: 1, stages: 1 },
    { maxRows: 256, minWorkgroups: 100, slices: 2, block: [128, 96], depth: 32, piece: [32, 96], band: 8, split: 2, stages: 1 },
    { maxRows: 256, minWorkgroups: 0, slices: 8, block: [128, 96], depth: 32, piece: [32, 96], band: 8, split: 2, stages: 1 },
  ],
  convolvedApartFrom: 33,
  convolvedTogetherFrom: 128,
  stateUpdate: [
    { maxRows: 4, channels: 1, threads: 512, prefetchedBytes: 3e6 },
    { maxRows: 4, channels: 1, threads: 128, prefetchedBytes: 3e6 },
    { maxRows: ANY, channels: 2, threads: 512, prefetchedBytes: 0 },
    { maxRows: ANY, channels: 2, threads: 128, prefetchedBytes: 0 },
  ],
  shortStateUpdate: [
    { maxRows: 4, channels: 1, threads: 512, fours: 1, prefetchedBytes: 3e6 },
    { maxRows: 4, channels: 1, threads: 128, fours: 1, prefetchedBytes: 3e6 },
    { maxRows: ANY, channels: 4, threads: 128, fours: 2, prefetchedBytes: 0 },
    { maxRows: ANY, channels: 2, threads: 128, fours: 1, prefetchedBytes: 0 },
  ],
  chunkedScanFrom: 16,
};

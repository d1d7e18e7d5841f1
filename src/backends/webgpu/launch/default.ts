import type { LaunchParameters } from './launch-parameters.ts';

const ANY = Number.POSITIVE_INFINITY;
const ALL = { minOutputs: 0, maxOutputs: ANY, minInputs: 0 };

/** Small enough for every device: 16 KiB of workgroup memory, 256 invocations. */
export const DEFAULT_LAUNCH: LaunchParameters = {
  vector: [
    { maxRows: 1, ...ALL, rows: 8, blocking: 1, busy: 512, maxParts: 8, ahead: 2 },
    { maxRows: 8, ...ALL, rows: 8, blocking: 2, busy: 512, maxParts: 8, ahead: 2 },
  ],
  matrixFew: [],
  slicedFew: [],
  matrixNormalising: [],
  matrix: [
    { maxRows: ANY, minWorkgroups: 0, block: [64, 64], depth: 32, piece: [32, 32], band: 8, split: 1, stages: 1 },
  ],
  slicedMatrix: [],
  convolvedApartFrom: ANY,
  convolvedTogetherFrom: ANY,
  stateUpdate: [{ maxRows: ANY, channels: 2, threads: 64, prefetchedBytes: 0 }],
  shortStateUpdate: [{ maxRows: ANY, channels: 2, threads: 64, fours: 1, prefetchedBytes: 0 }],
  chunkedScanFrom: 16,
};

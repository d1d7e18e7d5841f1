import type { CudaCalls } from '../device/cuda-calls.ts';
import type { CudaIndices } from '../device/cuda-tensor.ts';
import type { StateSpaceParams } from '../kernels/kernels.generated.ts';
import type { STATE_SIZES } from './replay-steps.ts';

/** Tokens of a chunk. Chunks begin where the position in the sequence is a multiple. */
export const CHUNK_TOKENS = 64;

/** Channels of a block of chunk_scan, and heads of one of chunk_weights. */
const CHANNELS = 32;
const HEADS = 4;
/** What cuda/chunk-scan.cu has of a chunk: floats of a group, floats of a head, and values of 16 bits of a head. */
const GROUP_FLOATS = 10 * 256 + 4;
const STEP_FLOATS = 2 * CHUNK_TOKENS + 4;
const WEIGHTS = 10 * 256;
/** Which tokens state_scan takes, by their numbers in cuda/state-space.cuh. */
const [BEFORE_CHUNKS, AFTER_CHUNKS] = [1, 2];

/** What a scan is told of its sequences. */
export interface ScannedSequences {
  readonly starts: CudaIndices;
  readonly slots: CudaIndices | undefined;
  readonly positions: CudaIndices;
}

/**
 * Scans the whole chunks of sequences on tensor cores, and with `scan` the tokens before and after them.
 * @returns false, with nothing done, where there is no whole chunk, or no kernel for the call.
 */
export function scanChunks(
  calls: CudaCalls,
  parameters: StateSpaceParams,
  size: (typeof STATE_SIZES)[number],
  sequences: ScannedSequences,
  scan: (parameters: StateSpaceParams) => void,
): boolean {
  const { rows, H, P, N, headsPerGroup, x, z, B, C, out } = parameters;
  const isAligned = [x, z, B, C, out].every((operand) => !operand || isOnQuads(operand));
  if (P % CHANNELS !== 0 || !isAligned || scanBytes(N) > calls.device.info.sharedBytes) return false;
  const { numChunks, hasBefore, hasAfter } = countChunks(sequences);
  if (numChunks === 0) return false;
  const places = Math.floor(rows / CHUNK_TOKENS);
  const groups = H / headsPerGroup;
  const own = {
    ...parameters,
    chunkHalves: calls.memory.allocate(2 * places * groups * 2 * CHUNK_TOKENS * N),
    chunkProducts: calls.memory.allocate(4 * places * groups * GROUP_FLOATS),
    chunkWeights: calls.memory.allocate(2 * places * H * WEIGHTS),
    chunkSteps: calls.memory.allocate(4 * places * H * STEP_FLOATS),
    chunkPositions: sequences.positions.address,
    sequences: sequences.positions.shape[0],
  };
  if (hasBefore) scan({ ...own, stretch: BEFORE_CHUNKS });
  const sharedBytes = 2 * 2 * CHUNK_TOKENS * N;
  calls.device.launch(`chunk_rows_${size}`, { blocks: [places, groups], threads: 512, sharedBytes }, own);
  calls.device.launch('chunk_weights', { blocks: [places, Math.ceil(H / HEADS)], threads: 128 }, own);
  const grid = { blocks: [P / CHANNELS, H, own.sequences] as const, threads: 256, sharedBytes: scanBytes(N) };
  calls.device.launch(`chunk_scan_${size}`, grid, own);
  if (hasAfter) scan({ ...own, stretch: AFTER_CHUNKS });
  return true;
}

/** Shared memory of chunk_scan. */
function scanBytes(N: number): number {
  const rows = 2 * 2 * 2 * CHUNK_TOKENS * N;
  const x = 2 * 2 * CHUNK_TOKENS * CHANNELS;
  const state = 2 * CHANNELS * N;
  // Steps and powers of two chunks, and the largest magnitudes that each of 8 warps has of x and of the state.
  const floats = 2 * STEP_FLOATS + 2 * 4 + 2 * 8;
  return rows + x + state + 4 * floats;
}

function countChunks({ starts, slots, positions }: ScannedSequences) {
  let numChunks = 0;
  let [hasBefore, hasAfter] = [false, false];
  for (const [b, position] of positions.data.entries()) {
    const [begin, end] = [starts.data[b], starts.data[b + 1]];
    const first = begin + ((CHUNK_TOKENS - (position % CHUNK_TOKENS)) % CHUNK_TOKENS);
    const count = slots && slots.data[b] < 0 ? 0 : Math.max(0, Math.floor((end - first) / CHUNK_TOKENS));
    numChunks += count;
    hasBefore ||= (count > 0 ? first : end) > begin;
    hasAfter ||= count > 0 && first + CHUNK_TOKENS * count < end;
  }
  return { numChunks, hasBefore, hasAfter };
}

/** Whether four neighbours of each row can be loaded at once. */
function isOnQuads({ address, stride }: { readonly address: number; readonly stride: number }): boolean {
  return address % 16 === 0 && stride % 4 === 0;
}

import type { CudaCalls } from '../device/cuda-calls.ts';
import type { CudaIndices } from '../device/cuda-tensor.ts';
import type { StateSpaceParams } from '../kernels/kernels.generated.ts';
import type { STATE_SIZES } from './replay-steps.ts';

/** Tokens of a chunk. Chunks begin where the position in the sequence is a multiple. */
export const CHUNK_TOKENS = 64;

/** Channels of a block of chunk_states, and heads of one of chunk_rows. */
const CHANNELS = 32;
const HEADS = 16;
/** Floats that cuda/chunk-scan.cu has of a chunk: of a group, of a head, and those of a head that chunk_states takes. */
const GROUP_FLOATS = 10 * 256 + 4;
const STEP_FLOATS = 4 * CHUNK_TOKENS + 4;
const STATE_FLOATS = CHUNK_TOKENS + 4;
/** Chunks whose x and B, and whose steps, chunk_states has in shared memory. */
const ROW_BUFFERS = 3;
const STEP_BUFFERS = 4;
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
  const outputBytes = 2 * (CHUNK_TOKENS * N + P * N) + (4 + 2) * CHUNK_TOKENS * P;
  const mostShared = Math.max(statesBytes(N), outputBytes);
  if (P % CHANNELS !== 0 || !isAligned || mostShared > calls.device.info.sharedBytes) return false;
  const { numChunks, hasBefore, hasAfter } = countChunks(sequences);
  if (numChunks === 0) return false;
  const places = Math.floor(rows / CHUNK_TOKENS);
  const groups = H / headsPerGroup;
  const own = {
    ...parameters,
    chunkHalves: calls.memory.allocate(2 * places * groups * 2 * CHUNK_TOKENS * N),
    chunkProducts: calls.memory.allocate(4 * places * groups * GROUP_FLOATS),
    chunkSteps: calls.memory.allocate(4 * places * H * STEP_FLOATS),
    chunkStates: calls.memory.scratch('states', 2 * places * H * P * N),
    chunkPowers: calls.memory.allocate((8 * places * H * P) / CHANNELS),
    chunkPositions: sequences.positions.address,
    sequences: sequences.positions.shape[0],
  };
  if (hasBefore) scan({ ...own, stretch: BEFORE_CHUNKS });
  const sharedBytes = 2 * 2 * CHUNK_TOKENS * N;
  const rowBlocks = [places, groups + Math.ceil(H / HEADS)] as const;
  calls.device.launch(`chunk_rows_${size}`, { blocks: rowBlocks, threads: 512, sharedBytes }, own);
  const grid = { blocks: [P / CHANNELS, H, own.sequences] as const, threads: 256, sharedBytes: statesBytes(N) };
  calls.device.launch(`chunk_states_${size}`, grid, own);
  calls.device.launch(`chunk_outputs_${size}`, { blocks: [places, H], threads: 256, sharedBytes: outputBytes }, own);
  if (hasAfter) scan({ ...own, stretch: AFTER_CHUNKS });
  return true;
}

/** Shared memory of chunk_states. */
function statesBytes(N: number): number {
  const rows = ROW_BUFFERS * 2 * CHUNK_TOKENS * N;
  const x = (ROW_BUFFERS * 4 + 2 * 2) * CHUNK_TOKENS * CHANNELS;
  // Steps and powers of chunks, and the largest magnitudes that each of 8 warps has of two chunks' x and states.
  const floats = STEP_BUFFERS * STATE_FLOATS + ROW_BUFFERS * 4 + 2 * 2 * 8;
  return rows + x + 4 * floats;
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

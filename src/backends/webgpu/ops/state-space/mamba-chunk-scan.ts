import type { ChunkScanArgs } from '../../../contract/state-space.ts';
import { checkChunkSize } from '../../../contract/state-space.ts';
import { type GpuTensor, Storage } from '../../device/gpu-tensor.ts';
import { elementGrid, type Lowering, MAX_GROUPS, place } from '../../graph/lowering.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Calls } from '../calls.ts';
import { CHUNK, type SequenceTable } from '../sequence-table.ts';
import { checkStateSpace, enqueueGated, type StateSpace, stateConstants, stateSpaceRun } from './state-space.ts';

/** Outputs of a workgroup in both dimensions: see tile-product.wgsl. */
const TILE = 64;

export interface Scan extends StateSpace {
  readonly sequences: SequenceTable;
  readonly keepState: boolean;
}

export const MAMBA_CHUNK_SCAN = defineOperation<Scan>({
  name: 'mambaChunkScan',
  lower: (lowering, operation) => {
    if (!lowerChunkedScan(lowering, operation)) lowerPlainScan(lowering, operation);
  },
});

export function mambaChunkScan(calls: Calls, args: ChunkScanArgs): GpuTensor {
  checkChunkSize(args.chunkSize);
  const { z, ...operands } = checkStateSpace(calls, args, args.ssmStates);
  const sequences = calls.sequences(args, args.x.shape[0], args.ssmStates.shape[0], operands.rounding?.positions);
  const { keepState = true } = args;
  return enqueueGated(calls, args.out, { ...operands, z }, (x, out) =>
    calls.enqueue(MAMBA_CHUNK_SCAN, { ...operands, x, sequences, keepState, out }),
  );
}

/** Scans token by token. */
function lowerPlainScan(lowering: Lowering, operation: Scan): void {
  const [H, P, N] = operation.stateShape;
  const { constants, bindings, params } = stateSpaceRun(lowering, operation);
  const { count, table, positions0 } = operation.sequences;
  for (const { firstRow, tensor } of operation.states.parts) {
    lowering.dispatch('state-space-scan', {
      constants: { ...constants, N },
      bindings: { ...bindings, sequences: table.storage, states: tensor.storage },
      params: {
        ...params,
        T: count,
        keepState: operation.keepState ? 1 : 0,
        positions0,
        firstSlot: firstRow,
        slotCount: tensor.shape[0],
        ...place('states', tensor),
      },
      workgroups: elementGrid(H * P, count),
    });
  }
}

/**
 * Scans in chunks, as matrix products (arXiv:2405.21060, section 6): decays, what tokens of a chunk ask of each other,
 * what chunks leave, the states between them, and the outputs.
 * @param z gates the outputs.
 * @returns false if the plain form must do.
 */
export function lowerChunkedScan(lowering: Lowering, operation: Scan, z?: GpuTensor): boolean {
  const { x, dt, A, B, C, D, dtBias, dtSoftplus, dtLimit, nGroups: G, states, sequences, keepState, out } = operation;
  const { stateDType: STATES, stateShape, rounding } = operation;
  const { rows, count, chunks, chunks0, ranges0, positions0, longest } = sequences;
  const [H, P, N] = stateShape;
  const placed = [x, B, C, out, z].filter((tensor) => tensor !== undefined);
  const applies =
    longest >= lowering.launch.chunkedScanFrom &&
    [A, D, dtBias].every((tensor) => !tensor || tensor.shape.length === 1) &&
    dt.shape.length === 2 &&
    [B, C].every(({ storage, stride }) => storage === x.storage && stride === x.stride) &&
    placed.every(({ offset, stride }) => offset % 4 === 0 && stride % 4 === 0) &&
    states.parts.length === 1 &&
    P % 4 === 0 &&
    N % 4 === 0 &&
    chunks <= MAX_GROUPS &&
    count <= MAX_GROUPS;
  if (!applies) return false;

  const { nothing } = lowering;
  const scratch = (floats: number) => new Storage(lowering.owner, 4 * floats);
  const steps = scratch(H * (2 * rows + chunks));
  const products = scratch(chunks * G * CHUNK * CHUNK);
  const chunkStates = scratch(chunks * H * N * P);
  const { maxStorageBufferBindingSize } = lowering.gpu.limits;
  if ([steps, products, chunkStates].some(({ bytes }) => bytes > maxStorageBufferBindingSize)) return false;

  const table = sequences.table.storage;
  const tiles = (n: number) => Math.ceil(n / TILE);
  const sizes = { CHUNK, N, P, MATRIX: lowering.usesMatrices && !lowering.isExact };
  const places = {
    H,
    headsPerGroup: H / G,
    rows,
    chunks0,
    xOffset: x.offset,
    bOffset: B.offset,
    cOffset: C.offset,
    rowStride: x.stride,
  };

  lowering.dispatch('chunk-decays', {
    constants: { CHUNK },
    bindings: { dt: dt.storage, A: A.storage, dtBias: dtBias?.storage ?? nothing, sequences: table, steps },
    params: {
      T: chunks,
      H,
      rows,
      chunks0,
      softplus: dtSoftplus ? 1 : 0,
      dtLow: dtLimit[0],
      dtHigh: dtLimit[1],
      ...place('dt', dt),
      aOffset: A.offset,
      aHead: A.stride,
      hasBias: dtBias ? 1 : 0,
      biasOffset: dtBias?.offset ?? 0,
      biasHead: dtBias?.stride ?? 0,
    },
    workgroups: [H, Math.min(chunks, MAX_GROUPS), 1],
  });
  lowering.dispatch('chunk-products', {
    constants: { ...sizes, LEFT_ALONG_K: true, RIGHT_ALONG_K: true },
    bindings: { xBC: x.storage, sequences: table, products },
    params: places,
    workgroups: [tiles(CHUNK) ** 2, G, chunks],
  });
  lowering.dispatch('chunk-states', {
    constants: { ...sizes, LEFT_ALONG_K: false, RIGHT_ALONG_K: false },
    bindings: { xBC: x.storage, steps, sequences: table, chunkStates },
    params: places,
    workgroups: [tiles(N) * tiles(P), H, chunks],
  });
  const COLUMNS = STATES === 'float32' ? 1 : 2;
  lowering.dispatch('chunk-pass', {
    constants: { N, P, ...stateConstants(lowering, STATES, rounding), COLUMNS },
    bindings: { steps, sequences: table, chunkStates, states: states.storage },
    params: {
      H,
      rows,
      chunkCount: chunks,
      ranges0,
      positions0,
      keepState: keepState ? 1 : 0,
      key: rounding?.key ?? 0,
      firstRow: rounding?.firstRow ?? 0,
      ...place('states', states),
    },
    workgroups: [Math.ceil((N * P) / 4 / 64 / COLUMNS), H, count],
  });
  lowering.dispatch('chunk-outputs', {
    constants: { ...sizes, GATE: Boolean(z), LEFT_ALONG_K: true, RIGHT_ALONG_K: false },
    bindings: {
      xBC: x.storage,
      products,
      steps,
      chunkStates,
      D: D?.storage ?? nothing,
      sequences: table,
      out: out.storage,
      z: z?.storage ?? nothing,
    },
    params: {
      ...places,
      hasD: D ? 1 : 0,
      dOffset: D?.offset ?? 0,
      dHead: D?.stride ?? 0,
      ...place('z', z),
      ...place('out', out),
    },
    workgroups: [tiles(CHUNK) * tiles(P), H, chunks],
  });
  return true;
}

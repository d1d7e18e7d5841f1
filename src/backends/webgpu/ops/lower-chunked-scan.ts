import { type GpuTensor, Storage } from '../device/gpu-tensor.ts';
import type { Lowering } from '../graph/lowering.ts';
import { place } from '../graph/lowering.ts';
import { CHUNK, type ScanOperation } from '../graph/operation.ts';

/** Workgroups in one dimension of a grid, on every device. */
const MAX_GROUPS = 65535;
/** Outputs of a workgroup in both dimensions: see tile-product.wgsl. */
const TILE = 64;

/**
 * The scan in chunks, as matrix products (arXiv:2405.21060, section 6): decays, what tokens of a chunk ask of each other,
 * what chunks leave, the states between them, and the outputs.
 * @param z gates the outputs.
 * @returns false where the plain form must do.
 */
export function lowerChunkedScan(lowering: Lowering, operation: ScanOperation, z?: GpuTensor): boolean {
  const { x, dt, A, B, C, D, dtBias, dtSoftplus, dtLimit, nGroups: G, states, sequences, out } = operation;
  const { rows, count, chunks, chunks0, ranges0, longest } = sequences;
  const [, H, P, N] = states.shape;
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

  const scratch = (floats: number) => new Storage(lowering.owner, 4 * floats);
  const steps = scratch(H * (2 * rows + chunks));
  const products = scratch(chunks * G * CHUNK * CHUNK);
  const chunkStates = scratch(chunks * H * N * P);
  const { maxStorageBufferBindingSize } = lowering.gpu.limits;
  if ([steps, products, chunkStates].some(({ bytes }) => bytes > maxStorageBufferBindingSize)) return false;

  const MATRIX = lowering.usesMatrices && !lowering.isExact;
  const xBC = x.storage;
  const table = sequences.table.storage;
  const across = { chunks0, xOffset: x.offset, bOffset: B.offset, cOffset: C.offset, rowStride: x.stride };
  const heads = { H, headsPerGroup: H / G, rows };
  const tiles = (n: number) => Math.ceil(n / TILE);

  lowering.dispatch(
    'chunk-decays',
    { CHUNK },
    {
      bindings: { dt: dt.storage, A: A.storage, dtBias: dtBias?.storage ?? lowering.nothing, sequences: table, steps },
      params: {
        ...{ T: chunks, H, rows, chunks0, softplus: dtSoftplus ? 1 : 0, dtLow: dtLimit[0], dtHigh: dtLimit[1] },
        ...{ ...place('dt', dt), aOffset: A.offset, aHead: A.stride },
        ...{ hasBias: dtBias ? 1 : 0, biasOffset: dtBias?.offset ?? 0, biasHead: dtBias?.stride ?? 0 },
      },
      workgroups: [H, Math.min(chunks, MAX_GROUPS), 1],
    },
  );
  lowering.dispatch(
    'chunk-products',
    { CHUNK, N, MATRIX, LEFT_ALONG_K: true, RIGHT_ALONG_K: true },
    {
      bindings: { xBC, sequences: table, products },
      params: { G, ...across },
      workgroups: [tiles(CHUNK) ** 2, G, chunks],
    },
  );
  lowering.dispatch(
    'chunk-states',
    { CHUNK, N, P, MATRIX, LEFT_ALONG_K: false, RIGHT_ALONG_K: false },
    {
      bindings: { xBC, steps, sequences: table, chunkStates },
      params: { ...heads, ...across },
      workgroups: [tiles(N) * tiles(P), H, chunks],
    },
  );
  lowering.dispatch(
    'chunk-pass',
    { N, P },
    {
      bindings: { steps, sequences: table, chunkStates, states: states.storage },
      params: { H, rows, chunkCount: chunks, ranges0, ...place('states', states) },
      workgroups: [Math.ceil((N * P) / 4 / 64), H, count],
    },
  );
  lowering.dispatch(
    'chunk-outputs',
    { CHUNK, N, P, MATRIX, GATE: Boolean(z), LEFT_ALONG_K: true, RIGHT_ALONG_K: false },
    {
      bindings: {
        ...{ xBC, products, steps, chunkStates, D: D?.storage ?? lowering.nothing, sequences: table },
        ...{ out: out.storage, z: z?.storage ?? lowering.nothing },
      },
      params: {
        ...{ ...heads, ...across, hasD: D ? 1 : 0, dOffset: D?.offset ?? 0, dHead: D?.stride ?? 0 },
        ...{ ...place('z', z), ...place('out', out) },
      },
      workgroups: [tiles(CHUNK) * tiles(P), H, chunks],
    },
  );
  return true;
}

import type { Tensor } from '../../../../tensor/tensor.ts';
import type { MlpActivation } from '../../../contract/activations.ts';
import { checkExperts, type ExpertWeights } from '../../../contract/experts.ts';
import { GpuTensor, rowsOf } from '../../device/gpu-tensor.ts';
import { elementGrid, place, rowGrid } from '../../graph/lowering.ts';
import { defineOperation } from '../../graph/operation.ts';
import { type ExpertMatrix, expertMatrix } from '../../linear/expert-matrix.ts';
import type { Calls } from '../calls.ts';
import { activate, activateAndMul } from '../rows/elementwise.ts';
import { ExpertTable } from './expert-table.ts';
import { GpuRouting } from './top-k-routing.ts';

/** Invocations that look through a routing's rows for one expert. */
const THREADS = 256;
/** Visits up to which outputs are made one by one: beyond, experts' matrices are read once for up to 64 of them. */
const FEW_VISITS = 64;

/** Finds which rows visit which experts: `out` is the table, of u32 words. */
const EXPERT_TABLE = defineOperation<{
  /** (T, E) */
  readonly routing: GpuTensor;
  readonly table: ExpertTable;
  readonly out: GpuTensor;
}>({
  name: 'expertTable',
  lower: (lowering, { routing, table: { T, E, tiles0, rows0, experts0, visits0 }, out }) => {
    const bindings = { routing: routing.storage, table: out.storage };
    const constants = { THREADS };
    const rows = { T, ...place('routing', routing) };
    lowering.dispatch('expert-counts', { constants, bindings, params: rows, workgroups: [E, 1, 1] });
    const params = { ...rows, E, tiles0, rows0, experts0, visits0 };
    lowering.dispatch('expert-rows', { constants, bindings, params, workgroups: [E, 1, 1] });
  },
});

/** Multiplies each visit's row with its expert's matrix. */
const EXPERT_LINEAR = defineOperation<{
  /** The visits' rows, or if they are routed the batch's. */
  readonly x: GpuTensor;
  readonly isRouted: boolean;
  readonly table: ExpertTable;
  readonly words: GpuTensor;
  readonly matrix: ExpertMatrix;
  /** (visits, outputs) */
  readonly out: GpuTensor;
}>({
  name: 'expertLinear',
  lower: (lowering, { x, isRouted, table, words, matrix, out }) => {
    const { E, visits, tiles, tiles0, rows0, experts0 } = table;
    const { outFeatures, inFeatures, parts } = matrix;
    const EVEN = inFeatures % 8 === 0;
    const MATRIX = lowering.usesMatrices && !lowering.isExact;
    for (const { firstRow, rows, storage, weight } of parts) {
      const { dtype, layout, format, rowWords } = weight;
      const constants = {
        EVEN,
        DTYPE: EVEN ? dtype : format,
        TILES: layout === 'tiles',
        K: inFeatures,
        ROW_WORDS: rowWords,
      };
      const bindings = { x: x.storage, table: words.storage, weight: storage, out: out.storage };
      const params = {
        E,
        visits,
        tiles0,
        rows0,
        experts0,
        isRouted: isRouted ? 1 : 0,
        outputs: outFeatures,
        K: inFeatures,
        rowWords,
        partBegin: firstRow,
        partRows: rows,
        ...place('x', x),
        ...place('out', out),
      };
      if (visits <= FEW_VISITS) {
        const workgroups = rowGrid(Math.ceil(outFeatures / 8), visits);
        lowering.dispatch('expert-vector', { constants, bindings, params, workgroups });
      } else {
        lowering.dispatch('expert-tile', {
          constants: { ...constants, MATRIX, LEFT_ALONG_K: true, RIGHT_ALONG_K: true },
          bindings,
          params,
          workgroups: rowGrid(Math.ceil(outFeatures / 64), tiles),
        });
      }
    }
  },
});

/** Adds up each row's visits, weighted. */
const EXPERT_SUM = defineOperation<{
  /** (visits, C) */
  readonly y: GpuTensor;
  readonly routing: GpuTensor;
  readonly table: ExpertTable;
  readonly words: GpuTensor;
  readonly out: GpuTensor;
}>({
  name: 'expertSum',
  lower: (lowering, { y, routing, table: { E, visits0 }, words, out }) => {
    const [T, C] = out.shape;
    lowering.dispatch('expert-sum', {
      bindings: { y: y.storage, routing: routing.storage, table: words.storage, out: out.storage },
      params: { T, C, E, visits0, ...place('y', y), ...place('routing', routing), ...place('out', out) },
      workgroups: elementGrid(C, T),
    });
  },
});

export function fusedMoe(
  calls: Calls,
  x: Tensor,
  routing: Tensor,
  experts: readonly ExpertWeights[],
  activation: MlpActivation,
  gated: boolean,
): GpuTensor {
  const [T, C] = x.shape;
  const input = calls.floats(x, 'x', [null, null]);
  const weights = calls.floats(routing, 'routing', [T, experts.length]);
  const out = calls.arrays.make([T, checkExperts(experts, C, gated)]);
  if (out.isEmpty) return out;
  const matrixOf = (kind: 'up' | 'down') =>
    expertMatrix(
      calls.owner,
      experts.map((expert) => expert[kind]),
    );
  const mixture = { up: matrixOf('up'), down: matrixOf('down'), activation, gated };
  const { up, down } = mixture;
  // A routing that was not made here may visit all experts.
  const perRow = weights instanceof GpuRouting ? weights.visitsPerRow : experts.length;
  const widest = Math.max(up.outFeatures, down.inFeatures, down.outFeatures);
  const rowsAtOnce = Math.max(1, Math.floor(calls.arrays.rowsAtOnce(widest) / perRow));
  for (let begin = 0; begin < T; begin += rowsAtOnce) {
    const end = Math.min(T, begin + rowsAtOnce);
    const table = new ExpertTable(end - begin, experts.length, perRow * (end - begin));
    visit(calls, mixture, {
      x: rowsOf(input, begin, end),
      routing: rowsOf(weights, begin, end),
      out: rowsOf(out, begin, end),
      table,
    });
  }
  return out;
}

interface Mixture {
  readonly up: ExpertMatrix;
  readonly down: ExpertMatrix;
  readonly activation: MlpActivation;
  readonly gated: boolean;
}

/** Rows, and the experts that they visit. */
interface Visits {
  readonly x: GpuTensor;
  readonly routing: GpuTensor;
  readonly out: GpuTensor;
  readonly table: ExpertTable;
}

/** Enqueues the experts' work on some rows. */
function visit(calls: Calls, { up, down, activation, gated }: Mixture, { x, routing, out, table }: Visits): void {
  const words = calls.arrays.make([table.words]);
  const hidden = calls.arrays.make([table.visits, up.outFeatures]);
  const y = calls.arrays.make([table.visits, down.outFeatures]);
  calls.enqueue(EXPERT_TABLE, { routing, table, out: words });
  calls.enqueue(EXPERT_LINEAR, { x, isRouted: true, table, words, matrix: up, out: hidden });
  const [gate, value] = gated ? halves(hidden) : [undefined, hidden];
  const active = gate ? activateAndMul(calls, gate, value, activation) : activate(calls, value, activation);
  calls.enqueue(EXPERT_LINEAR, { x: active, isRouted: false, table, words, matrix: down, out: y });
  calls.enqueue(EXPERT_SUM, { y, routing, table, words, out });
}

function halves({ storage, shape: [T, C], offset, stride }: GpuTensor): [GpuTensor, GpuTensor] {
  const half = C / 2;
  return [new GpuTensor(storage, [T, half], offset, stride), new GpuTensor(storage, [T, half], offset + half, stride)];
}

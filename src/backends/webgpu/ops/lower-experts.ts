import { elementGrid, type Lowering, place, rowGrid } from '../graph/lowering.ts';
import type { ExpertLinearOperation, ExpertSumOperation, ExpertTableOperation } from './expert-operation.ts';

/** Invocations that look through a routing's rows for one expert. */
const THREADS = 256;
/** Visits up to which outputs are made one by one: beyond, experts' matrices are read once for up to 64 of them. */
const FEW_VISITS = 64;

export function lowerExpertTable(lowering: Lowering, { routing, table, out }: ExpertTableOperation): void {
  const { T, E, tiles0, rows0, experts0, visits0 } = table;
  const bindings = { routing: routing.storage, table: out.storage };
  const params = { T, E, tiles0, rows0, experts0, visits0, ...place('routing', routing) };
  for (const shader of ['expert-counts', 'expert-rows'] as const) {
    lowering.dispatch(shader, { THREADS }, { bindings, params, workgroups: [E, 1, 1] });
  }
}

export function lowerExpertLinear(lowering: Lowering, operation: ExpertLinearOperation): void {
  const { x, isRouted, table, words, matrix, out } = operation;
  const { E, visits, tiles, tiles0, rows0, experts0 } = table;
  const { outFeatures, inFeatures, dtype, layout, format, rowWords, parts } = matrix;
  const EVEN = inFeatures % 8 === 0;
  const constants = {
    ...{ EVEN, DTYPE: EVEN ? dtype : format, TILES: layout === 'tiles', K: inFeatures, ROW_WORDS: rowWords },
  };
  const MATRIX = lowering.usesMatrices && !lowering.isExact;
  for (const { firstRow, rows, storage } of parts) {
    const bindings = { x: x.storage, table: words.storage, weight: storage, out: out.storage };
    const params = {
      ...{
        E,
        visits,
        tiles0,
        rows0,
        experts0,
        isRouted: isRouted ? 1 : 0,
        outputs: outFeatures,
        K: inFeatures,
        rowWords,
      },
      ...{ partBegin: firstRow, partRows: rows, ...place('x', x), ...place('out', out) },
    };
    if (visits <= FEW_VISITS) {
      const workgroups = rowGrid(Math.ceil(outFeatures / 8), visits);
      lowering.dispatch('expert-vector', constants, { bindings, params, workgroups });
    } else {
      const workgroups = rowGrid(Math.ceil(outFeatures / 64), tiles);
      const along = { MATRIX, LEFT_ALONG_K: true, RIGHT_ALONG_K: true };
      lowering.dispatch('expert-tile', { ...constants, ...along }, { bindings, params, workgroups });
    }
  }
}

export function lowerExpertSum(lowering: Lowering, { y, routing, table, words, out }: ExpertSumOperation): void {
  const [T, C] = out.shape;
  lowering.dispatch(
    'expert-sum',
    {},
    {
      bindings: { y: y.storage, routing: routing.storage, table: words.storage, out: out.storage },
      params: {
        ...{ T, C, E: table.E, visits0: table.visits0 },
        ...{ ...place('y', y), ...place('routing', routing), ...place('out', out) },
      },
      workgroups: elementGrid(C, T),
    },
  );
}

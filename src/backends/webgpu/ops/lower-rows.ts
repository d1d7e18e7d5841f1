import type { GpuTensor } from '../device/gpu-tensor.ts';
import { elementGrid, type Lowering, place, rowGrid } from '../graph/lowering.ts';
import type {
  CopyRowsOperation,
  ElementwiseOperation,
  EmbeddingOperation,
  GatherRowsOperation,
  GroupSquareSumsOperation,
  MulScalarOperation,
  RmsNormOperation,
  ScaleByGroupNormOperation,
  ScaleRowsOperation,
} from '../graph/operation.ts';

/** Invocations that share a row's sum. */
const ROW_THREADS = 64;
const ELEMENTWISE = { add: 'add', siluGate: 'silu-gate', mulColumns: 'mul-columns' } as const;

export function lowerEmbedding(lowering: Lowering, { ids, table, firstRow, out }: EmbeddingOperation): void {
  const [T, K] = out.shape;
  for (const part of table.parts) {
    lowering.dispatch(
      'embedding',
      { DTYPE: table.format },
      {
        bindings: { ids: ids.storage, weight: part.storage, out: out.storage },
        params: {
          T,
          K,
          firstRow,
          rows: table.outFeatures,
          partBegin: part.firstRow,
          partEnd: part.firstRow + part.rows,
          rowWords: table.rowWords,
          ...place('out', out),
        },
        workgroups: elementGrid(K, T),
      },
    );
  }
}

export function lowerGatherRows(lowering: Lowering, { x, rows, out }: GatherRowsOperation): void {
  const [T, C] = out.shape;
  lowering.dispatch(
    'gather-rows',
    {},
    {
      bindings: { x: x.storage, rows: rows.storage, out: out.storage },
      params: { T, C, ...place('x', x), ...place('out', out) },
      workgroups: elementGrid(C, T),
    },
  );
}

export function lowerCopyRows(lowering: Lowering, { x, out }: CopyRowsOperation): void {
  copyRows(lowering, x, out);
}

/** out = x, whose rows are entries of the first dimension. */
export function copyRows(lowering: Lowering, x: GpuTensor, out: GpuTensor): void {
  const [T, C] = [x.shape[0] ?? 1, x.rowSize];
  lowering.dispatch(
    'copy-rows',
    {},
    {
      bindings: { x: x.storage, out: out.storage },
      params: { T, C, ...place('x', x), ...place('out', out) },
      workgroups: elementGrid(C, T),
    },
  );
}

export function lowerElementwise(lowering: Lowering, { type, x, y, out }: ElementwiseOperation): void {
  const [T, C] = out.shape;
  lowering.dispatch(
    ELEMENTWISE[type],
    {},
    {
      bindings: { x: x.storage, y: y.storage, out: out.storage },
      params: { T, C, ...place('x', x), ...place('y', y), ...place('out', out) },
      workgroups: elementGrid(C, T),
    },
  );
}

export function lowerMulScalar(lowering: Lowering, { x, factor, out }: MulScalarOperation): void {
  const [T, C] = out.shape;
  lowering.dispatch(
    'mul-scalar',
    {},
    {
      bindings: { x: x.storage, out: out.storage },
      params: { T, C, factor, ...place('x', x), ...place('out', out) },
      workgroups: elementGrid(C, T),
    },
  );
}

export function lowerRmsNorm(lowering: Lowering, { x, weight, eps, out }: RmsNormOperation): void {
  const [T, C] = out.shape;
  lowering.dispatch(
    'rms-norm',
    { THREADS: ROW_THREADS },
    {
      bindings: { x: x.storage, weight: weight.storage, out: out.storage },
      params: { T, C, eps, ...place('x', x), ...place('weight', weight), ...place('out', out) },
      workgroups: rowGrid(1, T),
    },
  );
}

export function lowerGroupSquareSums(lowering: Lowering, { v, layout, out }: GroupSquareSumsOperation): void {
  const [T, C] = v.shape;
  lowering.dispatch(
    'group-square-sums',
    { THREADS: ROW_THREADS },
    {
      bindings: { v: v.storage, out: out.storage },
      params: { T, C, ...layout, ...place('v', v), ...place('out', out) },
      workgroups: rowGrid(out.shape[1], T),
    },
  );
}

export function lowerScaleByGroupNorm(lowering: Lowering, operation: ScaleByGroupNormOperation): void {
  const { v, squareSums, weight, eps, layout, out } = operation;
  const [T, C] = v.shape;
  lowering.dispatch(
    'scale-by-group-norm',
    {},
    {
      bindings: { v: v.storage, squareSums: squareSums.storage, weight: weight.storage, out: out.storage },
      params: {
        T,
        C,
        eps,
        ...layout,
        ...place('v', v),
        ...place('sums', squareSums),
        ...place('weight', weight),
        ...place('out', out),
      },
      workgroups: elementGrid(C, T),
    },
  );
}

export function lowerScaleRows(lowering: Lowering, { x, squareSums, count, eps, out }: ScaleRowsOperation): void {
  const [T, C] = x.shape;
  lowering.dispatch(
    'scale-rows',
    {},
    {
      bindings: { x: x.storage, squareSums: squareSums.storage, out: out.storage },
      params: { T, C, count, eps, ...place('x', x), ...place('sums', squareSums), ...place('out', out) },
      workgroups: elementGrid(C, T),
    },
  );
}

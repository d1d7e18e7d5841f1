import type { GpuTensor } from '../device/gpu-tensor.ts';
import type { ExpertMatrix } from '../linear/expert-matrix.ts';
import type { ExpertTable } from './expert-table.ts';

/** Who visits which expert: `out` is the table, of u32 words. */
export interface ExpertTableOperation {
  readonly type: 'expertTable';
  /** (T, E) */
  readonly routing: GpuTensor;
  readonly table: ExpertTable;
  readonly out: GpuTensor;
}

/** For each visit, its row times its expert's matrix. */
export interface ExpertLinearOperation {
  readonly type: 'expertLinear';
  /** The visits' rows, or if they are routed the batch's. */
  readonly x: GpuTensor;
  readonly isRouted: boolean;
  readonly table: ExpertTable;
  readonly words: GpuTensor;
  readonly matrix: ExpertMatrix;
  /** (visits, outputs) */
  readonly out: GpuTensor;
}

/** Each row's visits, weighted and summed up. */
export interface ExpertSumOperation {
  readonly type: 'expertSum';
  /** (visits, C) */
  readonly y: GpuTensor;
  readonly routing: GpuTensor;
  readonly table: ExpertTable;
  readonly words: GpuTensor;
  readonly out: GpuTensor;
}

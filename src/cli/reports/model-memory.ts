import { WEIGHT_DTYPES, type WeightDType } from '../../tensor/dtype.ts';
import { keysAndValuesBytes, type ModelLoad } from './model-load.ts';
import type { ModelReport } from './model-report.ts';

/** Bytes of a model under a load, on one rank; the memory of a step is not included. */
export interface ModelMemory extends ModelLoad {
  readonly states: number;
  /** Bytes of whole blocks of the paged cache. */
  readonly keysAndValues: number;
  /** Bytes with the weights in each dtype; states, keys and values included. */
  readonly total: Readonly<Record<WeightDType, number>>;
}

export function modelMemory(
  report: Pick<ModelReport, 'stateBytes' | 'kvBytesPerToken' | 'weightBytes'>,
  load: ModelLoad,
): ModelMemory {
  const { stateBytes, weightBytes } = report;
  const { context, batch } = load;
  const states = batch * stateBytes.total;
  const keysAndValues = keysAndValuesBytes(report, load);
  const total = Object.fromEntries(WEIGHT_DTYPES.map((dtype) => [dtype, weightBytes[dtype] + states + keysAndValues]));
  return { context, batch, states, keysAndValues, total: total as Record<WeightDType, number> };
}

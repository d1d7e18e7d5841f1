import type { LogDecayArgs } from '../../../contract/state-space.ts';
import type { GpuTensor } from '../../device/gpu-tensor.ts';
import { elementGrid, place } from '../../graph/lowering.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Calls } from '../calls.ts';
import type { SequenceTable } from '../sequence-table.ts';

const LOG_DECAY_SUMS = defineOperation<{
  readonly dt: GpuTensor;
  readonly A: GpuTensor;
  readonly dtBias: GpuTensor | undefined;
  readonly dtSoftplus: boolean;
  readonly dtLimit: readonly [number, number];
  /** Absent: every row is a sequence. */
  readonly sequences: SequenceTable | undefined;
  readonly out: GpuTensor;
}>({
  name: 'logDecaySums',
  lower: (lowering, { dt, A, dtBias, dtSoftplus, dtLimit, sequences, out }) => {
    const { nothing } = lowering;
    const [T, H] = out.shape;
    lowering.dispatch('log-decay-sums', {
      constants: { HAS_SEQUENCES: sequences !== undefined },
      bindings: {
        dt: dt.storage,
        A: A.storage,
        dtBias: dtBias?.storage ?? nothing,
        out: out.storage,
        sequences: sequences?.table.storage ?? nothing,
      },
      params: {
        T,
        H,
        softplus: dtSoftplus ? 1 : 0,
        dtLow: dtLimit[0],
        dtHigh: dtLimit[1],
        hasBias: dtBias ? 1 : 0,
        ...place('dt', dt),
        ...place('a', A),
        ...place('bias', dtBias),
        ...place('out', out),
      },
      workgroups: elementGrid(H, T),
    });
  },
});

export function logDecaySums(calls: Calls, args: LogDecayArgs): GpuTensor {
  const dt = calls.floats(args.dt, 'dt', [null, null]);
  const [rows, H] = dt.shape;
  const A = calls.floats(args.A, 'A', [H]);
  const dtBias = calls.optional(args.dtBias, 'dtBias', [H]);
  const { queryStartLoc, dtSoftplus = false, dtLimit = [0, Number.POSITIVE_INFINITY] } = args;
  const sequences = queryStartLoc && calls.sequences({ queryStartLoc }, rows, Number.POSITIVE_INFINITY);
  const { out, finish } = calls.target(args.out, [sequences?.count ?? rows, H], [dt, A, dtBias]);
  if (!out.isEmpty) calls.enqueue(LOG_DECAY_SUMS, { dt, A, dtBias, dtSoftplus, dtLimit, sequences, out });
  return finish();
}

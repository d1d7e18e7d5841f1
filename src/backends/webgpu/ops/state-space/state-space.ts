import type { StateDType } from '../../../../tensor/state-dtype.ts';
import type { Tensor } from '../../../../tensor/tensor.ts';
import { headsPerGroup } from '../../../contract/sequences.ts';
import { checkShape } from '../../../contract/shapes.ts';
import type { SelectiveStateArgs, StochasticRounding } from '../../../contract/state-space.ts';
import { NO_EXACT_FLOAT16 } from '../../device/float16-conversions.ts';
import { type GpuIndices, GpuState, GpuTensor } from '../../device/gpu-tensor.ts';
import { type Lowering, place } from '../../graph/lowering.ts';
import type { Calls } from '../calls.ts';
import { dispatchCopy } from '../rows/copy-rows.ts';
import { SILU_GATE } from '../rows/elementwise.ts';

/** The operands that the scan and the one-step update share. */
export interface StateSpace {
  readonly x: GpuTensor;
  readonly dt: GpuTensor;
  readonly A: GpuTensor;
  readonly B: GpuTensor;
  readonly C: GpuTensor;
  readonly D: GpuTensor | undefined;
  readonly dtBias: GpuTensor | undefined;
  readonly dtSoftplus: boolean;
  readonly dtLimit: readonly [number, number];
  readonly nGroups: number;
  /** (S, H, P, N), or two of 16 bits in each value. */
  readonly states: GpuTensor;
  readonly stateDType: StateDType;
  /** H, P, N */
  readonly stateShape: readonly [number, number, number];
  readonly rounding: Rounding | undefined;
  readonly out: GpuTensor;
}

/** Stochastic rounding of states of 16 bits. */
export interface Rounding {
  readonly key: number;
  readonly firstRow: number;
  /** Positions of the sequences' first tokens. */
  readonly positions: GpuIndices;
}

/** Checked arguments, with the gate, which is an operation of its own. */
type Checked = Omit<StateSpace, 'out'> & { readonly z: GpuTensor | undefined };

/** Checks what the scan and the one-step update share. */
export function checkStateSpace(
  calls: Calls,
  args: SelectiveStateArgs & { readonly rounding?: StochasticRounding | undefined },
  state: Tensor,
): Checked {
  checkShape(state, 'state', [null, null, null, null]);
  const states = state instanceof GpuState ? state.words : calls.floats(state, 'state', state.shape);
  const stateDType = state instanceof GpuState ? state.dtype : 'float32';
  const { rounding } = args;
  const [, H, P, N] = state.shape;
  const rows = args.x.shape[0];
  const nGroups = args.nGroups ?? args.B.shape[1] ?? 0;
  const flat = args.x.shape.length === 2;
  const bcShape = args.B.shape.length === 2 ? [rows, nGroups * N] : [rows, nGroups, N];
  headsPerGroup(H, nGroups);
  const full = (x: Tensor | undefined, dimensions: readonly number[]) =>
    x && x.shape.length > 1 ? dimensions : dimensions.slice(0, 1);
  const xShape = flat ? [rows, H * P] : [rows, H, P];
  return {
    x: calls.floats(args.x, 'x', xShape),
    z: calls.optional(args.z, 'z', xShape),
    dt: calls.floats(args.dt, 'dt', args.dt.shape.length === 3 ? [rows, H, P] : [rows, H]),
    A: calls.floats(args.A, 'A', full(args.A, [H, P, N])),
    B: calls.floats(args.B, 'B', bcShape),
    C: calls.floats(args.C, 'C', bcShape),
    D: calls.optional(args.D, 'D', full(args.D, [H, P])),
    dtBias: calls.optional(args.dtBias, 'dtBias', full(args.dtBias, [H, P])),
    dtSoftplus: args.dtSoftplus ?? false,
    dtLimit: args.dtLimit ?? ([0, Number.POSITIVE_INFINITY] as const),
    nGroups,
    states,
    stateDType,
    stateShape: [H, P, N],
    rounding:
      rounding && stateDType !== 'float32'
        ? {
            key: rounding.key >>> 0,
            firstRow: rounding.firstRow ?? 0,
            positions: calls.indices(rounding.positions, 'positions', null),
          }
        : undefined,
  };
}

/**
 * Enqueues the recurrence with `enqueue`, which is given x and out as (rows, H*P), and the gate. The gate is an
 * operation of its own: with it there would be more buffers than every device can bind.
 */
export function enqueueGated(
  calls: Calls,
  out: Tensor | undefined,
  { x, z, dt, A, B, C, D, dtBias }: Checked,
  enqueue: (x: GpuTensor, out: GpuTensor) => void,
): GpuTensor {
  const target = calls.target(out, x.shape, [x, z, dt, A, B, C, D, dtBias]);
  if (x.isEmpty) return target.finish();
  const rows = (tensor: GpuTensor) =>
    new GpuTensor(tensor.storage, [x.shape[0], x.rowSize], tensor.offset, tensor.stride);
  if (!z) {
    enqueue(rows(x), rows(target.out));
    return target.finish();
  }
  const y = calls.arrays.make([x.shape[0], x.rowSize]);
  enqueue(rows(x), y);
  calls.enqueue(SILU_GATE, { x: y, y: rows(z), out: rows(target.out) });
  return target.finish();
}

/** Constants of kernels that read and write states. */
export function stateConstants({ gpu }: Lowering, stateDType: StateDType, rounding?: Rounding) {
  const RANDOM = rounding !== undefined;
  const { widens, narrows } = stateDType === 'float16' ? gpu.exactFloat16 : NO_EXACT_FLOAT16;
  return { STATES: stateDType, RANDOM, NATIVE_WIDENING: widens, NATIVE_ROUNDING: narrows && !RANDOM };
}

/** Buffers and params of the plain forms of the scan and the one-step update, without those for states and rows. */
export function stateSpaceRun(lowering: Lowering, operands: StateSpace) {
  const { dt, A, D, dtBias, dtSoftplus, dtLimit, nGroups, stateDType, stateShape, rounding, out } = operands;
  const [H, P, N] = stateShape;
  const { x, B, C } = inOneBuffer(lowering, operands);
  const perChannel = (tensor: GpuTensor | undefined, dimensions: number) => tensor?.shape.length === dimensions;
  return {
    constants: stateConstants(lowering, stateDType, rounding),
    bindings: {
      xBC: x.storage,
      dt: dt.storage,
      A: A.storage,
      D: D?.storage ?? lowering.nothing,
      dtBias: dtBias?.storage ?? lowering.nothing,
      out: out.storage,
    },
    params: {
      H,
      P,
      headsPerGroup: H / nGroups,
      softplus: dtSoftplus ? 1 : 0,
      dtLow: dtLimit[0],
      dtHigh: dtLimit[1],
      xOffset: x.offset,
      bOffset: B.offset,
      cOffset: C.offset,
      rowStride: x.stride,
      ...place('dt', dt),
      dtHead: perChannel(dt, 3) ? P : 1,
      dtChannel: perChannel(dt, 3) ? 1 : 0,
      aOffset: A.offset,
      aHead: A.stride,
      aChannel: perChannel(A, 3) ? N : 0,
      aState: perChannel(A, 3) ? 1 : 0,
      hasD: D ? 1 : 0,
      dOffset: D?.offset ?? 0,
      dHead: D?.stride ?? 0,
      dChannel: perChannel(D, 2) ? 1 : 0,
      hasBias: dtBias ? 1 : 0,
      biasOffset: dtBias?.offset ?? 0,
      biasHead: dtBias?.stride ?? 0,
      biasChannel: perChannel(dtBias, 2) ? 1 : 0,
      ...place('out', out),
      key: rounding?.key ?? 0,
      firstRow: rounding?.firstRow ?? 0,
    },
  };
}

/**
 * x, B and C as columns of one buffer with a common stride, as a mixer has them: as separate buffers they would be more
 * than every device can bind. Tensors that lie elsewhere are copied.
 */
function inOneBuffer(lowering: Lowering, { x, B, C }: Pick<StateSpace, 'x' | 'B' | 'C'>) {
  const isShared = [B, C].every(({ storage, stride }) => storage === x.storage && stride === x.stride);
  if (isShared) return { x, B, C };
  const rows = x.shape[0];
  const together = lowering.scratch([rows, x.rowSize + B.rowSize + C.rowSize]);
  let column = 0;
  const [ownX, ownB, ownC] = [x, B, C].map((tensor) => {
    const copy = new GpuTensor(together.storage, tensor.shape, column, together.stride);
    column += tensor.rowSize;
    dispatchCopy(lowering, tensor, undefined, [rows, tensor.rowSize], copy);
    return copy;
  });
  return { x: ownX, B: ownB, C: ownC };
}

import type { Tensor } from '../../../tensor/tensor.ts';
import {
  type CausalConv1dArgs,
  type CausalConv1dUpdateArgs,
  checkSeenTokens,
  checkStateWidth,
} from '../../contract/convolution.ts';
import { checkQueryStartLoc, checkSlots, headsPerGroup, slotsOrDefault } from '../../contract/sequences.ts';
import {
  type ChunkScanArgs,
  checkChunkSize,
  type LogDecayArgs,
  type SelectiveStateArgs,
  type SelectiveStateUpdateArgs,
} from '../../contract/state-space.ts';
import { type GpuIndices, GpuTensor, gpuFloats, gpuIndices } from '../device/gpu-tensor.ts';
import type { GpuArrays } from '../graph/arrays.ts';
import type { SequenceTable, StateSpaceParts } from '../graph/operation.ts';
import type { PendingWork } from '../graph/pending-work.ts';
import { makeSequenceTable } from './sequence-table.ts';

/** The checked arguments that the scan and the one-step update share. */
type StateSpaceInputs = Omit<StateSpaceParts, 'out'> & { readonly z: GpuTensor | undefined };

/** How the backend makes int32 tensors. */
export type MakeIndices = (values: Int32Array) => GpuIndices;

/** The state-space operations: checks calls and enqueues them. */
export class StateSpaceCalls {
  readonly #owner: object;
  readonly #work: PendingWork;
  readonly #arrays: GpuArrays;
  readonly #indices: MakeIndices;
  /** All layers of a step have the same sequences. */
  #lastTable: { readonly key: readonly (Tensor | undefined)[]; readonly made: SequenceTable } | undefined;

  constructor(owner: object, work: PendingWork, arrays: GpuArrays, indices: MakeIndices) {
    this.#owner = owner;
    this.#work = work;
    this.#arrays = arrays;
    this.#indices = indices;
  }

  causalConv1dFn(args: CausalConv1dArgs): GpuTensor {
    const [C, K] = args.weight.shape;
    const x = this.#floats(args.x, 'x', [null, C]);
    const weight = this.#floats(args.weight, 'weight', [null, null]);
    const bias = this.#optional(args.bias, 'bias', [C]);
    const states = this.#floats(args.convStates, 'convStates', [null, C, null]);
    checkStateWidth(states, K);
    const sequences = this.#sequences(args, x.shape[0], states.shape[0]);
    const target = this.#target(args.out, x.shape, [x, weight, bias]);
    if (x.isEmpty) return target.finish();
    const { activation } = args;
    this.#work.enqueue({ type: 'causalConv1dFn', x, weight, bias, activation, states, sequences, out: target.out });
    return target.finish();
  }

  causalConv1dUpdate(args: CausalConv1dUpdateArgs): GpuTensor {
    const [C, K] = args.weight.shape;
    const several = args.x.shape.length === 3;
    const x = this.#floats(args.x, 'x', several ? [null, null, C] : [null, C]);
    const [B, L] = several ? x.shape : [x.shape[0], 1];
    const weight = this.#floats(args.weight, 'weight', [null, null]);
    const bias = this.#optional(args.bias, 'bias', [C]);
    const states = this.#floats(args.convState, 'convState', [null, C, null]);
    checkStateWidth(states, K);
    const slots = args.convStateIndices && gpuIndices(this.#owner, args.convStateIndices, 'convStateIndices', B);
    checkSlots(slotsOrDefault(slots, 'convStateIndices', B), states.shape[0], 'convStateIndices');
    const seen = args.cacheSeqlens && gpuIndices(this.#owner, args.cacheSeqlens, 'cacheSeqlens', B);
    if (seen) checkSeenTokens(seen.data);
    const target = this.#target(args.out, x.shape, [x, weight, bias]);
    if (x.isEmpty) return target.finish();
    const cube = (tensor: GpuTensor) => new GpuTensor(tensor.storage, [B, L, C], tensor.offset, tensor.stride);
    const { activation } = args;
    const parts = { x: cube(x), weight, bias, activation, states, slots, seen, out: cube(target.out) };
    this.#work.enqueue({ type: 'causalConv1dUpdate', ...parts });
    return target.finish();
  }

  mambaChunkScan(args: ChunkScanArgs): GpuTensor {
    const { chunkSize } = args;
    checkChunkSize(chunkSize);
    const states = this.#floats(args.ssmStates, 'state', [null, null, null, null]);
    const parts = this.#stateSpace(args, states);
    const sequences = this.#sequences(args, args.x.shape[0], states.shape[0]);
    return this.#enqueueStateSpace(args, parts, (x, out) =>
      this.#work.enqueue({ type: 'mambaChunkScan', ...parts, x, chunkSize, sequences, out }),
    );
  }

  selectiveStateUpdate(args: SelectiveStateUpdateArgs): GpuTensor {
    const rows = args.x.shape[0];
    const states = this.#floats(args.state, 'state', [null, null, null, null]);
    const parts = this.#stateSpace(args, states);
    const slots = args.stateBatchIndices && gpuIndices(this.#owner, args.stateBatchIndices, 'stateBatchIndices', rows);
    checkSlots(slotsOrDefault(slots, 'stateBatchIndices', rows), states.shape[0], 'stateBatchIndices');
    return this.#enqueueStateSpace(args, parts, (x, out) =>
      this.#work.enqueue({ type: 'selectiveStateUpdate', ...parts, x, slots, out }),
    );
  }

  logDecaySums(args: LogDecayArgs): GpuTensor {
    const dt = this.#floats(args.dt, 'dt', [null, null]);
    const [rows, H] = dt.shape;
    const A = this.#floats(args.A, 'A', [H]);
    const dtBias = this.#optional(args.dtBias, 'dtBias', [H]);
    const { queryStartLoc, dtSoftplus = false, dtLimit = [0, Number.POSITIVE_INFINITY] } = args;
    const sequences = queryStartLoc && this.#sequences({ queryStartLoc }, rows, Number.POSITIVE_INFINITY);
    const target = this.#target(args.out, [sequences?.count ?? rows, H], [dt, A, dtBias]);
    const { out } = target;
    if (!out.isEmpty) this.#work.enqueue({ type: 'logDecaySums', dt, A, dtBias, dtSoftplus, dtLimit, sequences, out });
    return target.finish();
  }

  /** Checks what the scan and the one-step update share. */
  #stateSpace(args: SelectiveStateArgs, states: GpuTensor): StateSpaceInputs {
    const [, H, P, N] = states.shape;
    const rows = args.x.shape[0];
    const nGroups = args.nGroups ?? args.B.shape[1] ?? 0;
    const flat = args.x.shape.length === 2;
    const bcShape = args.B.shape.length === 2 ? [rows, nGroups * N] : [rows, nGroups, N];
    headsPerGroup(H, nGroups);
    const full = (x: Tensor | undefined, dimensions: readonly number[]) =>
      x && x.shape.length > 1 ? dimensions : dimensions.slice(0, 1);
    const xShape = flat ? [rows, H * P] : [rows, H, P];
    return {
      x: this.#floats(args.x, 'x', xShape),
      z: this.#optional(args.z, 'z', xShape),
      dt: this.#floats(args.dt, 'dt', args.dt.shape.length === 3 ? [rows, H, P] : [rows, H]),
      A: this.#floats(args.A, 'A', full(args.A, [H, P, N])),
      B: this.#floats(args.B, 'B', bcShape),
      C: this.#floats(args.C, 'C', bcShape),
      D: this.#optional(args.D, 'D', full(args.D, [H, P])),
      dtBias: this.#optional(args.dtBias, 'dtBias', full(args.dtBias, [H, P])),
      dtSoftplus: args.dtSoftplus ?? false,
      dtLimit: args.dtLimit ?? ([0, Number.POSITIVE_INFINITY] as const),
      nGroups,
      states,
    };
  }

  /** The gate is an operation of its own: with it there would be more buffers than every device can bind. */
  #enqueueStateSpace(
    args: SelectiveStateArgs,
    { x, z, dt, A, B, C, D, dtBias }: StateSpaceInputs,
    enqueue: (x: GpuTensor, out: GpuTensor) => void,
  ): GpuTensor {
    const target = this.#target(args.out, x.shape, [x, z, dt, A, B, C, D, dtBias]);
    if (x.isEmpty) return target.finish();
    const rows = (tensor: GpuTensor) =>
      new GpuTensor(tensor.storage, [x.shape[0], x.rowSize], tensor.offset, tensor.stride);
    if (!z) {
      enqueue(rows(x), rows(target.out));
      return target.finish();
    }
    const y = this.#arrays.make([x.shape[0], x.rowSize]);
    enqueue(rows(x), y);
    this.#work.enqueue({ type: 'siluGate', x: y, y: rows(z), out: rows(target.out) });
    return target.finish();
  }

  #sequences(
    args: Pick<ChunkScanArgs, 'queryStartLoc' | 'cacheIndices' | 'hasInitialState'>,
    rows: number,
    slotCount: number,
  ): SequenceTable {
    const startLoc = gpuIndices(this.#owner, args.queryStartLoc, 'queryStartLoc', null);
    const starts = checkQueryStartLoc(startLoc, rows);
    const count = starts.length - 1;
    const given = args.cacheIndices && gpuIndices(this.#owner, args.cacheIndices, 'cacheIndices', count);
    const slots = slotsOrDefault(given, 'cacheIndices', count);
    checkSlots(slots, slotCount, 'cacheIndices');
    const hasInitialState =
      args.hasInitialState && gpuIndices(this.#owner, args.hasInitialState, 'hasInitialState', count);
    const key = [startLoc, given, hasInitialState];
    const last = this.#lastTable;
    // In a scope tensors of indices do not change, and what was made for them is there until its end.
    if (this.#work.isInScope && last?.key.every((tensor, i) => tensor === key[i]) && !last.made.table.storage.isGone) {
      return last.made;
    }
    const made = makeSequenceTable(starts, slots, hasInitialState?.data, this.#indices);
    this.#lastTable = this.#work.isInScope ? { key, made } : undefined;
    return made;
  }

  /**
   * Where an operation writes: into the caller's tensor, or where that shares memory with what the operation reads, which
   * the device can't bind both ways, into memory of its own that `finish` copies over.
   */
  #target(out: Tensor | undefined, shape: readonly number[], inputs: readonly (GpuTensor | undefined)[]) {
    const given = out && this.#floats(out, 'out', shape);
    const shares = given && inputs.some((input) => input?.storage === given.storage);
    if (given && !shares) return { out: given, finish: () => given };
    const fresh = this.#arrays.make(shape);
    const finish = () => {
      if (!given) return fresh;
      if (!given.isEmpty) this.#work.enqueue({ type: 'copyRows', x: fresh, out: given });
      return given;
    };
    return { out: fresh, finish };
  }

  #floats(x: Tensor, name: string, expected: readonly (number | null)[]): GpuTensor {
    return gpuFloats(this.#owner, x, name, expected);
  }

  #optional(x: Tensor | undefined, name: string, expected: readonly (number | null)[]): GpuTensor | undefined {
    return x && this.#floats(x, name, expected);
  }
}

import {
  columnFactors,
  RandomBits,
  roundState,
  roundStateRandomly,
  type ShortStateDType,
} from '../../tensor/state-dtype.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { floats, HostState, HostTensor, hostZeros, ints } from '../contract/host-tensor.ts';
import { checkQueryStartLoc, checkSlots, headsPerGroup, PAD_SLOT_ID, slotsOrDefault } from '../contract/sequences.ts';
import {
  type ChunkScanArgs,
  checkChunkSize,
  checkReplay,
  checkReplayedStep,
  type LogDecayArgs,
  type Replay,
  type ReplayOps,
  type SelectiveStateArgs,
  type SelectiveStateUpdateArgs,
  type StochasticRounding,
  type TakeReplayedArgs,
} from '../contract/state-space.ts';
import { silu, softplus } from './activation.ts';

/**
 * Reference of {@link StateSpaceOps.mambaChunkScan}: the recurrence itself, token by token. Chunks are a way to get the
 * same numbers faster, so this form knows none, and splitting a prompt anywhere changes no bit.
 *
 * @example
 * ```ts
 * // Three tokens of one sequence in slot 0, one head of two columns, a state of two.
 * const ssmStates = hostZeros([1, 1, 2, 2]);
 * const y = mambaChunkScan({
 *   x: hostTensor([1, 2, 3, 4, 5, 6], [3, 1, 2]),
 *   dt: hostTensor([0.1, 0.2, 0.3], [3, 1]),
 *   A: hostTensor([-1], [1]),
 *   B: hostTensor([1, 0, 0, 1, 1, 1], [3, 1, 2]),
 *   C: hostTensor([1, 1, 1, 1, 1, 1], [3, 1, 2]),
 *   chunkSize: 256,
 *   ssmStates,
 *   queryStartLoc: hostIndices([0, 3]),
 * }); // (3, 1, 2)
 * ```
 */
export function mambaChunkScan(args: ChunkScanArgs): HostTensor<Float32Array> {
  checkChunkSize(args.chunkSize);
  const step = new StateSpaceStep(args, args.ssmStates);
  const starts = checkQueryStartLoc(args.queryStartLoc, step.rows);
  const sequences = starts.length - 1;
  const slots = slotsOrDefault(args.cacheIndices, 'cacheIndices', sequences);
  checkSlots(slots, args.ssmStates.shape[0], 'cacheIndices');
  const hasInitialState = args.hasInitialState && ints(args.hasInitialState, 'hasInitialState', sequences);
  const rounder = stateRounder(args.ssmStates, args.rounding, sequences);

  for (let b = 0; b < sequences; b++) {
    const [begin, end] = [starts[b], starts[b + 1]];
    if (begin === end) continue;
    const state = args.keepState === false ? step.state(slots[b]).slice() : step.state(slots[b]);
    if (!hasInitialState?.[b]) state.fill(0);
    for (let t = begin; t < end; t++) step.run(state, t, rounder?.(b, t - begin));
  }
  return step.out;
}

/**
 * Reference of {@link StateSpaceOps.selectiveStateUpdate}.
 *
 * @example
 * ```ts
 * const state = hostZeros([1, 1, 2, 2]); // (slots, H, P, N)
 * const y = selectiveStateUpdate({
 *   state,
 *   x: hostTensor([1, 2], [1, 1, 2]),
 *   dt: hostTensor([0.1], [1, 1]),
 *   A: hostTensor([-1], [1]),
 *   B: hostTensor([1, 0], [1, 1, 2]),
 *   C: hostTensor([1, 1], [1, 1, 2]),
 * }); // (1, 1, 2): 0.1 and 0.2
 * ```
 */
export function selectiveStateUpdate(args: SelectiveStateUpdateArgs): HostTensor<Float32Array> {
  const step = new StateSpaceStep(args, args.state);
  const slots = slotsOrDefault(args.stateBatchIndices, 'stateBatchIndices', step.rows);
  checkSlots(slots, args.state.shape[0], 'stateBatchIndices');
  const rounder = stateRounder(args.state, args.rounding, step.rows);
  const replay = args.replay && new ReplayedTokens(args, args.replay, step.rows, args.nGroups ?? args.B.shape[1]);
  if (replay) checkReplayedStep(args.dt);
  for (let b = 0; b < step.rows; b++) {
    const count = replay?.count(b, slots[b]) ?? 0;
    const isKept = replay !== undefined && count < replay.most;
    const state = isKept ? step.state(slots[b]).slice() : step.state(slots[b]);
    for (let j = 0; j < count; j++) replay?.run(state, slots[b], j, rounder?.(b, j - count));
    step.run(state, b, rounder?.(b, 0));
    if (isKept) replay.keep(slots[b], count, step.inputs(b));
  }
  return step.out;
}

/** Reference of {@link ReplayOps.takeReplayed}. */
export function takeReplayed(args: TakeReplayedArgs): void {
  const rows = args.replay.counts.shape[0];
  const slots = slotsOrDefault(args.stateBatchIndices, 'stateBatchIndices', rows);
  checkSlots(slots, args.state.shape[0], 'stateBatchIndices');
  const replay = new ReplayedTokens(args, args.replay, rows);
  const rounder = stateRounder(args.state, args.rounding, rows);
  for (let b = 0; b < rows; b++) {
    for (let j = 0; j < replay.count(b, slots[b]); j++)
      replay.run(replay.state(slots[b]), slots[b], j, rounder?.(b, j));
  }
}

/** The reference gains nothing by it, but can do it. */
export const referenceReplay: ReplayOps = { stepsOf: () => 1, fewestRows: 1, takeReplayed };

/**
 * Reference of {@link StateSpaceOps.logDecaySums}.
 *
 * @example
 * ```ts
 * const dt = hostTensor([0.1, 0.2], [2, 1]); // two tokens, one head
 * const sums = logDecaySums({ dt, A: hostTensor([-1], [1]), queryStartLoc: hostIndices([0, 2]) }); // -0.3
 * const halfLife = (2 * Math.LN2) / 0.3; // tokens
 * ```
 */
export function logDecaySums(args: LogDecayArgs): HostTensor<Float32Array> {
  const [rows, H] = floats(args.dt, 'dt', [null, null]).shape;
  const starts = args.queryStartLoc
    ? checkQueryStartLoc(args.queryStartLoc, rows)
    : Int32Array.from({ length: rows + 1 }, (_, b) => b);
  const sequences = starts.length - 1;
  const deltas = new Deltas(args, rows, H, 1);
  const A = floats(args.A, 'A', [H]);
  const out = args.out ? floats(args.out, 'out', [sequences, H]) : hostZeros([sequences, H]);
  for (let b = 0; b < sequences; b++) {
    for (let h = 0; h < H; h++) {
      let sum = 0;
      for (let t = starts[b]; t < starts[b + 1]; t++) sum += logDecay(A.data[h * A.stride], deltas.at(t, h, 0));
      out.data[b * out.stride + h] = sum;
    }
  }
  return out;
}

/** Rounds a value for a row (head and channel) and a column of a state. */
type Round = (value: number, row: number, column: number) => number;

/** The rounding of states that a token of sequence b leaves, t tokens after the first; undefined for float32. */
function stateRounder(
  states: Tensor,
  rounding: StochasticRounding | undefined,
  sequences: number,
): ((b: number, t: number) => Round) | undefined {
  if (!(states instanceof HostState)) return undefined;
  const { dtype } = states;
  if (!rounding) return () => (value) => roundState(value, dtype);
  const positions = ints(rounding.positions, 'positions', sequences);
  const columns = columnFactors(states.shape[3]);
  const { key, firstRow = 0 } = rounding;
  return (b, t) => stochastic(dtype, new RandomBits(key, positions[b] + t, columns), firstRow);
}

function stochastic(dtype: ShortStateDType, bits: RandomBits, firstRow: number): Round {
  let [known, ofColumn] = [0, bits.ofRow(firstRow)];
  return (value, row, column) => {
    if (row !== known) [known, ofColumn] = [row, bits.ofRow(firstRow + row)];
    return roundStateRandomly(value, dtype, ofColumn(column));
  };
}

/** The tokens that slots' states lack. */
class ReplayedTokens {
  /** Tokens that a slot may lack. */
  readonly most: number;
  readonly #inputs: HostTensor<Float32Array>;
  readonly #counts: Int32Array;
  readonly #step: StateSpaceStep;

  constructor(args: Omit<TakeReplayedArgs, 'replay'>, replay: Replay, rows: number, nGroups?: number) {
    const { most, groups, columns } = checkReplay(replay, args.state, rows, args.stateBatchIndices, nGroups);
    const inputs = floats(replay.inputs, 'inputs', [null, null]);
    const part = (begin: number, width: number) =>
      new HostTensor(inputs.data.subarray(begin), [inputs.shape[0], width], inputs.stride);
    const [widthOfX, widthOfB] = columns;
    const B = part(widthOfX, widthOfB);
    this.most = most;
    this.#inputs = inputs;
    this.#counts = ints(replay.counts, 'counts', rows);
    const { A, dtBias, dtSoftplus, dtLimit, state } = args;
    this.#step = new StateSpaceStep(
      // C only makes outputs.
      {
        ...{ A, dtBias, dtSoftplus, dtLimit, nGroups: groups },
        ...{ x: part(0, widthOfX), B, C: B, dt: part(widthOfX + widthOfB, state.shape[1]) },
      },
      state,
    );
  }

  /** How many tokens the state of a row's slot lacks. */
  count(b: number, slot: number): number {
    return slot === PAD_SLOT_ID ? 0 : this.#counts[b];
  }

  state(slot: number): Float32Array {
    return this.#step.state(slot);
  }

  /** Takes the slot's j-th token into a state. */
  run(state: Float32Array, slot: number, j: number, round?: Round): void {
    this.#step.run(state, slot * this.most + j, round);
  }

  /** Keeps a token's x, B and dt as the slot's j-th. */
  keep(slot: number, j: number, inputs: Float32Array): void {
    if (slot !== PAD_SLOT_ID) this.#inputs.data.set(inputs, (slot * this.most + j) * this.#inputs.stride);
  }
}

/** One token through all heads: the mathematics that the scan and the one-step update share. */
class StateSpaceStep {
  readonly rows: number;
  readonly out: HostTensor<Float32Array>;
  readonly #H: number;
  readonly #P: number;
  readonly #N: number;
  readonly #headsPerGroup: number;
  readonly #states: HostTensor<Float32Array>;
  readonly #x: HostTensor<Float32Array>;
  readonly #z: HostTensor<Float32Array> | undefined;
  readonly #B: HostTensor<Float32Array>;
  readonly #C: HostTensor<Float32Array>;
  readonly #dt: HostTensor<Float32Array>;
  readonly #deltas: Deltas;
  readonly #A: Broadcast;
  readonly #D: Broadcast | undefined;

  constructor(args: SelectiveStateArgs, states: Tensor) {
    const [, H, P, N] = floats(states, 'state', [null, null, null, null]).shape;
    const rows = args.x.shape[0];
    const G = args.nGroups ?? args.B.shape[1] ?? 0;
    const flat = args.x.shape.length === 2;
    const xShape = flat ? [rows, H * P] : [rows, H, P];
    const bcShape = args.B.shape.length === 2 ? [rows, G * N] : [rows, G, N];
    this.rows = rows;
    this.#H = H;
    this.#P = P;
    this.#N = N;
    this.#headsPerGroup = headsPerGroup(H, G);
    this.#states = floats(states, 'state', [null, null, null, null]);
    this.#x = floats(args.x, 'x', xShape);
    this.#z = args.z && floats(args.z, 'z', xShape);
    this.#B = floats(args.B, 'B', bcShape);
    this.#C = floats(args.C, 'C', bcShape);
    this.#dt = floats(args.dt, 'dt', args.dt.shape);
    this.#deltas = new Deltas(args, rows, H, P);
    this.#A = perHead(args.A, 'A', [H, P, N]);
    this.#D = args.D && perHead(args.D, 'D', [H, P]);
    this.out = args.out ? floats(args.out, 'out', xShape) : hostZeros(xShape);
  }

  /** The state (H, P, N) of a slot; a padded row gets zeros of its own. */
  state(slot: number): Float32Array {
    const size = this.#H * this.#P * this.#N;
    if (slot === PAD_SLOT_ID) return new Float32Array(size);
    return this.#states.data.subarray(slot * this.#states.stride, slot * this.#states.stride + size);
  }

  /** A token's x, B and dt. */
  inputs(t: number): Float32Array {
    const parts = [this.#x, this.#B, this.#dt].map(({ data, stride, rowSize }) =>
      data.subarray(t * stride, t * stride + rowSize),
    );
    return Float32Array.from(parts.flatMap((part) => [...part]));
  }

  /** h = exp(A Δ) h + Δ x ⊗ B;  y = h C + D x;  y *= silu(z). @param round what h becomes after y. */
  run(state: Float32Array, t: number, round?: Round): void {
    const [P, N] = [this.#P, this.#N];
    for (let h = 0; h < this.#H; h++) {
      const g = Math.floor(h / this.#headsPerGroup);
      const B = this.#B.data.subarray(t * this.#B.stride + g * N, t * this.#B.stride + (g + 1) * N);
      const C = this.#C.data.subarray(t * this.#C.stride + g * N, t * this.#C.stride + (g + 1) * N);
      for (let p = 0; p < P; p++) {
        const x = this.#x.data[t * this.#x.stride + h * P + p];
        const delta = this.#deltas.at(t, h, p);
        const hState = state.subarray((h * P + p) * N, (h * P + p + 1) * N);
        const sharedDecay = this.#A.state === 0 ? decay(valueAt(this.#A, 0, h, p, 0), delta) : undefined;
        let y = 0;
        for (let n = 0; n < N; n++) {
          const dA = sharedDecay ?? decay(valueAt(this.#A, 0, h, p, n), delta);
          hState[n] = dA * hState[n] + delta * x * B[n];
          y += hState[n] * C[n];
          if (round) hState[n] = round(hState[n], h * P + p, n);
        }
        if (this.#D) y += valueAt(this.#D, 0, h, p, 0) * x;
        if (this.#z) y *= silu(this.#z.data[t * this.#z.stride + h * P + p]);
        this.out.data[t * this.out.stride + h * P + p] = y;
      }
    }
  }
}

/** Δ = clamp(softplus(dt + bias)) */
class Deltas {
  readonly #dt: Broadcast;
  readonly #bias: Broadcast | undefined;
  readonly #softplus: boolean;
  readonly #limit: readonly [number, number];

  constructor(
    args: Pick<SelectiveStateArgs, 'dt' | 'dtBias' | 'dtSoftplus' | 'dtLimit'>,
    rows: number,
    H: number,
    P: number,
  ) {
    this.#dt = perRow(args.dt, 'dt', rows, H, P);
    this.#bias = args.dtBias && perHead(args.dtBias, 'dtBias', [H, P]);
    this.#softplus = args.dtSoftplus ?? false;
    this.#limit = args.dtLimit ?? [0, Number.POSITIVE_INFINITY];
  }

  at(t: number, h: number, p: number): number {
    const raw = valueAt(this.#dt, t, h, p, 0) + (this.#bias ? valueAt(this.#bias, 0, h, p, 0) : 0);
    const [low, high] = this.#limit;
    return Math.min(high, Math.max(low, this.#softplus ? softplus(raw) : raw));
  }
}

/** A Δ. A is negative; rounding elsewhere must not turn a decay into growth. */
function logDecay(A: number, delta: number): number {
  return Math.min(0, A * delta);
}

function decay(A: number, delta: number): number {
  return Math.exp(logDecay(A, delta));
}

/** A tensor read as if it were (rows, H, P, N): dimensions that it lacks have stride 0. */
interface Broadcast {
  readonly data: Float32Array;
  readonly row: number;
  readonly head: number;
  readonly channel: number;
  readonly state: number;
}

function valueAt(b: Broadcast, t: number, h: number, p: number, n: number): number {
  return b.data[t * b.row + h * b.head + p * b.channel + n * b.state];
}

/** (rows, H) or (rows, H, P). */
function perRow(x: Tensor, name: string, rows: number, H: number, P: number): Broadcast {
  const perChannel = x.shape.length === 3;
  const { data, stride } = floats(x, name, perChannel ? [rows, H, P] : [rows, H]);
  return { data, row: stride, head: perChannel ? P : 1, channel: perChannel ? 1 : 0, state: 0 };
}

/** (H), or the full shape: (H, P) or (H, P, N). */
function perHead(x: Tensor, name: string, full: readonly number[]): Broadcast {
  const perChannel = x.shape.length > 1;
  const { data, stride } = floats(x, name, perChannel ? full : full.slice(0, 1));
  if (!perChannel) return { data, row: 0, head: stride, channel: 0, state: 0 };
  const [, , N = 1] = full;
  return { data, row: 0, head: stride, channel: N, state: full.length === 3 ? 1 : 0 };
}

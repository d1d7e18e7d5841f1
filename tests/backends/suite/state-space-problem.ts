import type { Backend } from '../../../src/backends/contract/backend.ts';
import { PAD_SLOT_ID } from '../../../src/backends/contract/sequences.ts';
import type { SelectiveStateArgs } from '../../../src/backends/contract/state-space.ts';
import { type RecurrenceResult, recurrence, stepSize } from '../oracle/state-space.ts';
import type { Demands } from './harness.ts';
import { expectClose, expectFinite, expectSame } from './harness.ts';
import type { Inputs } from './inputs.ts';
import { batchTensors, type Sequence, STALE, spans } from './sequences.ts';

export interface StateSpaceSizes {
  /** H */
  readonly heads: number;
  /** P */
  readonly headDim: number;
  /** N */
  readonly stateSize: number;
  /** G */
  readonly groups: number;
}

/** Inputs of the scan and the one-step update. Per-head arguments may be given per (head, dim) as well. */
export interface StateSpaceInputs extends StateSpaceSizes {
  readonly rows: number;
  /** (rows, H, P) */
  readonly x: Float32Array;
  /** (rows, H) or (rows, H, P) */
  readonly dt: Float32Array;
  /** (H) or (H, P, N) */
  readonly A: Float32Array;
  /** (rows, G, N) */
  readonly B: Float32Array;
  /** (rows, G, N) */
  readonly C: Float32Array;
  /** (H) or (H, P) */
  readonly D?: Float32Array | undefined;
  /** (rows, H, P) */
  readonly z?: Float32Array | undefined;
  /** (H) or (H, P) */
  readonly dtBias?: Float32Array | undefined;
  readonly dtSoftplus: boolean;
  readonly dtLimit?: readonly [number, number] | undefined;
}

/** Inputs drawn as the upstream SSD tests do: A = -exp(u), Δ = softplus(normal - 4), the rest normal. */
export function randomInputs(inputs: Inputs, sizes: StateSpaceSizes, rows: number): StateSpaceInputs {
  const { heads: H, headDim: P, stateSize: N, groups: G } = sizes;
  return {
    ...sizes,
    rows,
    x: inputs.normal(rows * H * P),
    dt: inputs.normal(rows * H, -4),
    A: inputs.decayRates(H),
    B: inputs.normal(rows * G * N),
    C: inputs.normal(rows * G * N),
    dtSoftplus: true,
  };
}

/** The inputs as the operations take them, x, B, C and z with or without their heads and groups as dimensions. */
export function operationArgs(backend: Backend, inputs: StateSpaceInputs, flat = false): SelectiveStateArgs {
  const { rows, heads: H, headDim: P, stateSize: N, groups: G, x, dt, A, B, C, D, z, dtBias } = inputs;
  const xShape = flat ? [rows, H * P] : [rows, H, P];
  const bcShape = flat ? [rows, G * N] : [rows, G, N];
  return {
    x: backend.tensor(x, xShape),
    dt: backend.tensor(dt, dt.length === rows * H ? [rows, H] : [rows, H, P]),
    A: backend.tensor(A, A.length === H ? [H] : [H, P, N]),
    B: backend.tensor(B, bcShape),
    C: backend.tensor(C, bcShape),
    nGroups: flat ? G : undefined,
    D: D && backend.tensor(D, D.length === H ? [H] : [H, P]),
    z: z && backend.tensor(z, xShape),
    dtBias: dtBias && backend.tensor(dtBias, dtBias.length === H ? [H] : [H, P]),
    dtSoftplus: inputs.dtSoftplus,
    dtLimit: inputs.dtLimit,
  };
}

/** What all rows must give as one sequence, by the float64 oracle. */
export function expectedResult(inputs: StateSpaceInputs, initial?: ArrayLike<number>): RecurrenceResult {
  const { rows, heads: H, headDim: P, stateSize: N, groups: G, x, B, C, z, dtSoftplus } = inputs;
  const { dtLimit = [0, Number.POSITIVE_INFINITY] } = inputs;
  const bias = inputs.dtBias && broadcast(inputs.dtBias, H * P);
  const delta = broadcast(inputs.dt, rows * H * P);
  delta.forEach((dt, i) => {
    delta[i] = stepSize(dt, bias ? bias[i % (H * P)] : 0, dtSoftplus, dtLimit);
  });
  return recurrence({
    tokens: rows,
    heads: H,
    headDim: P,
    stateSize: N,
    groups: G,
    x,
    delta,
    A: broadcast(inputs.A, H * P * N),
    B,
    C,
    D: inputs.D && broadcast(inputs.D, H * P),
    z,
    initial,
  });
}

/** Rows [begin, end) as inputs of their own. */
export function sliceInputs(inputs: StateSpaceInputs, begin: number, end: number): StateSpaceInputs {
  const cut = (values: Float32Array) => {
    const perRow = values.length / inputs.rows;
    return values.slice(begin * perRow, end * perRow);
  };
  const { x, dt, B, C, z } = inputs;
  return { ...inputs, rows: end - begin, x: cut(x), dt: cut(dt), B: cut(B), C: cut(C), z: z && cut(z) };
}

/** Several inputs of the same layer, one after another. */
export function concatInputs(parts: readonly StateSpaceInputs[]): StateSpaceInputs {
  const join = (pick: (part: StateSpaceInputs) => Float32Array) => joined(parts.map(pick));
  const z = parts.flatMap((part) => part.z ?? []);
  return {
    ...parts[0],
    rows: parts.reduce((sum, part) => sum + part.rows, 0),
    x: join((part) => part.x),
    dt: join((part) => part.dt),
    B: join((part) => part.B),
    C: join((part) => part.C),
    z: z.length === 0 ? undefined : joined(z),
  };
}

export function joined(parts: readonly Float32Array[]): Float32Array {
  const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let begin = 0;
  for (const part of parts) {
    out.set(part, begin);
    begin += part.length;
  }
  return out;
}

/** Puts garbage into the slots of sequences that must not read them. */
export function spoilUnread(states: Float32Array, slotSize: number, sequences: readonly Sequence[]): void {
  for (const { slot, hasInitialState } of sequences) {
    if (slot !== PAD_SLOT_ID && !hasInitialState) states.fill(STALE, slot * slotSize, (slot + 1) * slotSize);
  }
}

/** Runs the scan over a packed batch, from and to the states of all slots (S, H, P, N). */
export async function scan(
  backend: Backend,
  inputs: StateSpaceInputs,
  sequences: readonly Sequence[],
  states: Float32Array,
  chunkSize: number,
  flat = false,
  keepState?: boolean,
): Promise<{ y: Float32Array; states: Float32Array }> {
  const { heads: H, headDim: P, stateSize: N } = inputs;
  const ssmStates = backend.tensor(states, [states.length / (H * P * N), H, P, N]);
  const y = backend.mambaChunkScan({
    ...operationArgs(backend, inputs, flat),
    ...batchTensors(backend, sequences),
    ssmStates,
    keepState,
    chunkSize,
  });
  return { y: await backend.read(y), states: await backend.read(ssmStates) };
}

/** Runs the scan and compares all that it returns and leaves with the oracle. */
export async function checkScan(
  backend: Backend,
  inputs: StateSpaceInputs,
  sequences: readonly Sequence[],
  states: Float32Array,
  chunkSize: number,
  demands: Demands,
  flat = false,
): Promise<{ y: Float32Array; states: Float32Array }> {
  const rowSize = inputs.heads * inputs.headDim;
  const slotSize = rowSize * inputs.stateSize;
  const tolerance = demands.tolerances.stateSpace;
  const result = await scan(backend, inputs, sequences, states, chunkSize, flat);
  const untouched = new Set(Array.from({ length: states.length / slotSize }, (_, slot) => slot));
  for (const { begin, end, slot, hasInitialState } of spans(sequences)) {
    if (begin === end) continue;
    const y = result.y.subarray(begin * rowSize, end * rowSize);
    if (slot === PAD_SLOT_ID) {
      expectFinite(y, 'padded rows');
      continue;
    }
    const initial = hasInitialState ? states.subarray(slot * slotSize, (slot + 1) * slotSize) : undefined;
    const expected = expectedResult(sliceInputs(inputs, begin, end), initial);
    expectClose(y, expected.y, tolerance, `y of slot ${slot}`);
    const state = result.states.subarray(slot * slotSize, (slot + 1) * slotSize);
    expectClose(state, expected.state, tolerance, `state of slot ${slot}`);
    untouched.delete(slot);
  }
  for (const slot of untouched) {
    const [begin, end] = [slot * slotSize, (slot + 1) * slotSize];
    expectSame(result.states.subarray(begin, end), states.subarray(begin, end), `unused slot ${slot}`);
  }
  return result;
}

/** Trailing dimensions that a per-head or per-row array lacks repeat its values. */
function broadcast(values: Float32Array, length: number): Float64Array {
  const repeats = length / values.length;
  return Float64Array.from({ length }, (_, i) => values[Math.floor(i / repeats)]);
}

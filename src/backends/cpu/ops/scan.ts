import { ArgumentError } from '../../../errors.ts';
import type { Tensor } from '../../../tensor/tensor.ts';
import { HostState, ints } from '../../contract/host-tensor.ts';
import {
  checkQueryStartLoc,
  checkSlots,
  headsPerGroup,
  PAD_SLOT_ID,
  slotsOrDefault,
} from '../../contract/sequences.ts';
import { checkShape } from '../../contract/shapes.ts';
import {
  type ChunkScanArgs,
  checkChunkSize,
  type SelectiveStateArgs,
  type SelectiveStateUpdateArgs,
  type StochasticRounding,
} from '../../contract/state-space.ts';
import { selectiveStateUpdate } from '../../reference/state-space.ts';
import type { Kernels } from '../kernels/kernels.ts';
import { indexAddress, slotAddress } from '../memory/cpu-indices.ts';
import type { CpuMemory } from '../memory/cpu-memory.ts';
import type { CpuRuntime } from '../memory/cpu-runtime.ts';
import { CpuState } from '../memory/cpu-short.ts';
import { CpuTensor, cpuFloats, outputFor, vectorAddress, zeroVector } from '../memory/cpu-tensor.ts';

/** Address of a tensor's first row, and bytes from row to row. */
interface Column {
  readonly address: number;
  readonly stride: number;
}

/** A checked call's addresses and numbers, under the names of kernels/scan.ts. An absent z has address 0. */
interface ScanCall extends Readonly<Record<'x' | 'dt' | 'B' | 'C' | 'z' | 'out', Column>> {
  readonly A: number;
  readonly dtBias: number;
  readonly D: number;
  readonly perGroup: number;
  readonly softplus: number;
  readonly low: number;
  readonly high: number;
  readonly scratch: number;
}

/** States that a call works on, in either form. */
type States = CpuTensor | CpuState;

/** Numbers of formats in kernels/scan-short.ts, with rounding to the nearest; a random one has the next number. */
const SHORT_FORMATS = { float16: 0, bfloat16: 2 } as const;

/** The state-space recurrence, for sequences and for single tokens: the same kernel for both. */
export class CpuScan {
  readonly #runtime: CpuRuntime;
  readonly #memory: CpuMemory;
  readonly #kernels: Kernels;

  constructor(runtime: CpuRuntime) {
    this.#runtime = runtime;
    this.#memory = runtime.memory;
    this.#kernels = runtime.kernels;
  }

  sequences(args: ChunkScanArgs): Tensor {
    checkChunkSize(args.chunkSize);
    const rows = args.x.shape[0];
    const states = this.#states(args.ssmStates);
    const starts = checkQueryStartLoc(args.queryStartLoc, rows);
    const count = starts.length - 1;
    const slots = slotsOrDefault(args.cacheIndices, 'cacheIndices', count);
    checkSlots(slots, states.shape[0], 'cacheIndices');
    const hasInitialState = args.hasInitialState && ints(args.hasInitialState, 'hasInitialState', count);
    return this.#run(args, states, rows, (call) => {
      const [, H, P, N] = states.shape;
      const bytes = slotBytes(states);
      // For states that no slot gets.
      const scratch = this.#memory.allocate(bytes);
      const positions = args.rounding && ints(args.rounding.positions, 'positions', count);
      for (let b = 0; b < count; b++) {
        const tokens = starts[b + 1] - starts[b];
        if (tokens === 0) continue;
        const slot = states.address + slots[b] * bytes;
        const isKept = slots[b] !== PAD_SLOT_ID && args.keepState !== false;
        const state = isKept ? slot : scratch;
        const isFresh = !hasInitialState?.[b] || slots[b] === PAD_SLOT_ID;
        if (isFresh) this.#kernels.clear(state, bytes);
        else if (!isKept) this.#kernels.copyRows(slot, 0, state, 0, 1, bytes);
        const at = (column: Column) => (column.address === 0 ? 0 : column.address + starts[b] * column.stride);
        const { x, dt, B, C, z, out, A, dtBias, D } = call;
        // biome-ignore format: addresses with their strides, as the kernel takes them
        const given = [
          at(x), x.stride, at(dt), dt.stride, at(B), B.stride, at(C), C.stride, at(z), z.stride, at(out), out.stride,
          A, dtBias, D, state, tokens, H, P, N, call.perGroup, call.softplus, call.low, call.high, call.scratch,
        ] as const;
        if (!(states instanceof CpuState)) this.#kernels.scanSequence(...given);
        else this.#kernels.scanShortSequence(...given, ...rounding(states, args.rounding), positions?.[b] ?? 0);
      }
    });
  }

  update(args: SelectiveStateUpdateArgs): Tensor {
    if (args.replay)
      throw new ArgumentError('Tokens to replay on the processor.', 'States are written in each step here.');
    // Parameters per channel are Mamba-1's; the reference computes the same recurrence.
    const arePerHead = [args.A, args.D, args.dtBias].every((p) => !p || p.shape.length === 1);
    if (args.dt.shape.length !== 2 || !arePerHead) return this.#referenceUpdate(args);
    const rows = args.x.shape[0];
    const states = this.#states(args.state);
    const slots = slotsOrDefault(args.stateBatchIndices, 'stateBatchIndices', rows);
    checkSlots(slots, states.shape[0], 'stateBatchIndices');
    return this.#run(args, states, rows, (call) => {
      const [, H, P, N] = states.shape;
      const bytes = slotBytes(states);
      const padding = this.#memory.allocate(bytes);
      const slotsAt = slotAddress(this.#memory, args.stateBatchIndices, slots);
      const { x, dt, B, C, z, out, A, dtBias, D } = call;
      // biome-ignore format: addresses with their strides, as the kernel takes them
      const given = [
        x.address, x.stride, dt.address, dt.stride, B.address, B.stride, C.address, C.stride, z.address, z.stride,
        out.address, out.stride, A, dtBias, D, states.address, bytes, slotsAt, rows, padding, H, P, N,
        call.perGroup, call.softplus, call.low, call.high, call.scratch,
      ] as const;
      if (!(states instanceof CpuState)) return this.#kernels.scanRows(...given);
      const positions = args.rounding && indexAddress(this.#memory, args.rounding.positions, 'positions', rows);
      this.#kernels.scanShortRows(...given, ...rounding(states, args.rounding), positions ?? 0);
    });
  }

  #states(state: Tensor): States {
    if (!(state instanceof CpuState)) return this.#floats(state, 'state', [null, null, null, null]);
    checkShape(state, 'state', [null, null, null, null]);
    return state;
  }

  /** Checks the arguments that both forms share, and runs `scan` with their addresses. */
  #run(args: SelectiveStateArgs, states: States, rows: number, scan: (call: ScanCall) => void): Tensor {
    const memory = this.#memory;
    const [, H, P, N] = states.shape;
    const G = args.nGroups ?? args.B.shape[1] ?? 0;
    const perGroup = headsPerGroup(H, G);
    const xShape = args.x.shape.length === 2 ? [rows, H * P] : [rows, H, P];
    const bcShape = args.B.shape.length === 2 ? [rows, G * N] : [rows, G, N];
    const x = this.#floats(args.x, 'x', xShape);
    const z = args.z && this.#floats(args.z, 'z', xShape);
    const B = this.#floats(args.B, 'B', bcShape);
    const C = this.#floats(args.C, 'C', bcShape);
    const dt = this.#floats(args.dt, 'dt', [rows, H]);
    const [low, high] = args.dtLimit ?? [0, Number.POSITIVE_INFINITY];
    const D = args.D;
    const perChannelD = D !== undefined && D.shape.length === 2;
    const result = outputFor(this.#runtime, args.out, xShape);
    memory.scope(() => {
      const zeros = args.dtBias && D && !perChannelD ? 0 : zeroVector(this.#runtime, H);
      scan({
        x: column(x),
        dt: column(dt),
        B: column(B),
        C: column(C),
        z: z && !perChannelD ? column(z) : { address: 0, stride: 0 },
        out: column(result.out),
        A: vectorAddress(this.#runtime, args.A, 'A', H),
        dtBias: args.dtBias ? vectorAddress(this.#runtime, args.dtBias, 'dtBias', H) : zeros,
        D: D && !perChannelD ? vectorAddress(this.#runtime, D, 'D', H) : zeros,
        perGroup,
        softplus: args.dtSoftplus ? 1 : 0,
        low,
        high,
        scratch: memory.allocate(this.#scratchBytes(states, rows)),
      });
    });
    if (D && perChannelD) addPerChannelSkip(result.out, x, this.#floats(D, 'D', [H, P]), z);
    return result.finish();
  }

  #scratchBytes(states: States, rows: number): number {
    const [, H, P, N] = states.shape;
    const { scanScratch, scanShortScratch } = this.#kernels;
    return states instanceof CpuState ? scanShortScratch(rows, H, P, N) : scanScratch(rows, H, P, N);
  }

  #referenceUpdate(args: SelectiveStateUpdateArgs): Tensor {
    const out = args.out ?? CpuTensor.allocate(this.#memory, args.x.shape);
    const view = (x: Tensor, name: string) => this.#floats(x, name, x.shape).view();
    const optional = (x: Tensor | undefined, name: string) => x && view(x, name);
    const short = args.state instanceof CpuState ? args.state : undefined;
    const state = short ? new HostState(short.readAll(), short.shape, short.dtype) : view(args.state, 'state');
    selectiveStateUpdate({
      ...args,
      x: view(args.x, 'x'),
      dt: view(args.dt, 'dt'),
      A: view(args.A, 'A'),
      B: view(args.B, 'B'),
      C: view(args.C, 'C'),
      D: optional(args.D, 'D'),
      z: optional(args.z, 'z'),
      dtBias: optional(args.dtBias, 'dtBias'),
      state,
      out: view(out, 'out'),
    });
    for (let slot = 0; short && slot < short.shape[0]; slot++) {
      short.write(slot, state.data.subarray(slot * state.stride, (slot + 1) * state.stride));
    }
    return out;
  }

  #floats(x: Tensor, name: string, expected: readonly (number | null)[]): CpuTensor {
    return cpuFloats(this.#memory, x, name, expected);
  }
}

function slotBytes(states: States): number {
  return states instanceof CpuState ? states.slotBytes : states.byteStride;
}

/** Format, key and first row of a rounding. */
function rounding({ dtype }: CpuState, given: StochasticRounding | undefined): readonly [number, number, number] {
  return given ? [SHORT_FORMATS[dtype] + 1, given.key, given.firstRow ?? 0] : [SHORT_FORMATS[dtype], 0, 0];
}

function column({ address, byteStride }: CpuTensor): Column {
  return { address, stride: byteStride };
}

/** y = (y + D x) * silu(z) with D (H, P), which no published Mamba-2 model has. */
function addPerChannelSkip(y: CpuTensor, x: CpuTensor, D: CpuTensor, z: CpuTensor | undefined): void {
  const [H, P] = D.shape;
  const { floats } = y.memory;
  for (let t = 0; t < y.shape[0]; t++) {
    for (let i = 0; i < H * P; i++) {
      const skip = floats[D.address / 4 + Math.floor(i / P) * D.stride + (i % P)];
      const at = y.address / 4 + t * y.stride + i;
      const sum = floats[at] + skip * floats[x.address / 4 + t * x.stride + i];
      const gate = z ? floats[z.address / 4 + t * z.stride + i] : undefined;
      floats[at] = gate === undefined ? sum : (sum * gate) / (1 + Math.exp(-gate));
    }
  }
}

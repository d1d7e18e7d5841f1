import { ArgumentError } from '../../errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { ints } from '../reference/host-tensor.ts';
import { checkQueryStartLoc, checkSlots, headsPerGroup, slotsOrDefault } from '../reference/indices.ts';
import { selectiveStateUpdate } from '../reference/state-space.ts';
import {
  type ChunkScanArgs,
  PAD_SLOT_ID,
  type SelectiveStateArgs,
  type SelectiveStateUpdateArgs,
} from '../state-space-ops.ts';
import type { CpuMemory } from './cpu-memory.ts';
import { CpuTensor, cpuFloats, outputFor, vectorAddress } from './cpu-tensor.ts';
import type { Kernels } from './kernels.ts';

/** Tokens per block of kernels/scan.ts. */
const BLOCK = 32;

/** The state-space recurrence, for sequences and for single tokens: the same kernel for both. */
export class CpuScan {
  readonly #memory: CpuMemory;
  readonly #kernels: Kernels;

  constructor(memory: CpuMemory, kernels: Kernels) {
    this.#memory = memory;
    this.#kernels = kernels;
  }

  sequences(args: ChunkScanArgs): Tensor {
    if (!Number.isInteger(args.chunkSize) || args.chunkSize < 1) {
      throw new ArgumentError(`chunkSize is ${args.chunkSize}.`, 'Use a whole number of tokens from 1 on.');
    }
    return this.#run(args, args.ssmStates, (states, rows) => {
      const starts = checkQueryStartLoc(args.queryStartLoc, rows);
      const count = starts.length - 1;
      const slots = slotsOrDefault(args.cacheIndices, 'cacheIndices', count);
      checkSlots(slots, states.shape[0], 'cacheIndices');
      const hasInitialState = args.hasInitialState && ints(args.hasInitialState, 'hasInitialState', count);
      return Array.from({ length: count }, (_, b) => ({
        begin: starts[b],
        tokens: starts[b + 1] - starts[b],
        slot: slots[b],
        fresh: !hasInitialState?.[b],
      }));
    });
  }

  update(args: SelectiveStateUpdateArgs): Tensor {
    // Parameters per channel are Mamba-1's; the reference computes the same recurrence.
    const perHead = [
      args.dt.shape.length === 2,
      ...[args.A, args.D, args.dtBias].map((p) => !p || p.shape.length === 1),
    ];
    if (perHead.includes(false)) return this.#referenceUpdate(args);
    return this.#run(args, args.state, (states, rows) => {
      const slots = slotsOrDefault(args.stateBatchIndices, 'stateBatchIndices', rows);
      checkSlots(slots, states.shape[0], 'stateBatchIndices');
      return Array.from(slots, (slot, b) => ({ begin: b, tokens: 1, slot, fresh: false }));
    });
  }

  #run(
    args: SelectiveStateArgs,
    state: Tensor,
    plan: (states: CpuTensor, rows: number) => { begin: number; tokens: number; slot: number; fresh: boolean }[],
  ): Tensor {
    const memory = this.#memory;
    const states = this.#floats(state, 'state', [null, null, null, null]);
    const [, H, P, N] = states.shape;
    const rows = args.x.shape[0];
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
    const result = outputFor(memory, args.out, xShape);
    const sequences = plan(states, rows);
    memory.scope(() => {
      const zeros = memory.allocate(4 * H);
      memory.floats.fill(0, zeros / 4, zeros / 4 + H);
      const A = vectorAddress(memory, args.A, 'A', H);
      const dtBias = args.dtBias ? vectorAddress(memory, args.dtBias, 'dtBias', H) : zeros;
      const skip = D && !perChannelD ? vectorAddress(memory, D, 'D', H) : zeros;
      const scratch = memory.allocate(4 * BLOCK * (32 + P + 2 * N + 1));
      const padding = memory.allocate(4 * H * P * N);
      for (const { begin, tokens, slot, fresh } of sequences) {
        if (tokens === 0) continue;
        const address = slot === PAD_SLOT_ID ? padding : states.address + slot * states.byteStride;
        if (fresh || slot === PAD_SLOT_ID) memory.floats.fill(0, address / 4, address / 4 + H * P * N);
        const at = (t: CpuTensor) => t.address + begin * t.byteStride;
        this.#kernels.scanSequence(
          at(x),
          x.byteStride,
          at(dt),
          dt.byteStride,
          at(B),
          B.byteStride,
          at(C),
          C.byteStride,
          z && !perChannelD ? at(z) : 0,
          z?.byteStride ?? 0,
          at(result.out),
          result.out.byteStride,
          A,
          dtBias,
          skip,
          address,
          tokens,
          H,
          P,
          N,
          perGroup,
          args.dtSoftplus ? 1 : 0,
          low,
          high,
          scratch,
        );
      }
    });
    if (D && perChannelD) addPerChannelSkip(result.out, x, this.#floats(D, 'D', [H, P]), z);
    return result.finish();
  }

  #referenceUpdate(args: SelectiveStateUpdateArgs): Tensor {
    const out = args.out ?? CpuTensor.allocate(this.#memory, args.x.shape);
    const view = (x: Tensor, name: string) => this.#floats(x, name, x.shape).view();
    const optional = (x: Tensor | undefined, name: string) => x && view(x, name);
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
      state: view(args.state, 'state'),
      out: view(out, 'out'),
    });
    return out;
  }

  #floats(x: Tensor, name: string, expected: readonly (number | null)[]): CpuTensor {
    return cpuFloats(this.#memory, x, name, expected);
  }
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

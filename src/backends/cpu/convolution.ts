import type { Tensor } from '../../tensor/tensor.ts';
import { causalConv1dUpdate, checkStateWidth } from '../reference/causal-conv1d.ts';
import { ints } from '../reference/host-tensor.ts';
import { checkQueryStartLoc, checkSlots, slotsOrDefault } from '../reference/indices.ts';
import {
  type Activation,
  type CausalConv1dArgs,
  type CausalConv1dUpdateArgs,
  PAD_SLOT_ID,
} from '../state-space-ops.ts';
import type { CpuMemory } from './cpu-memory.ts';
import { CpuTensor, cpuFloats, outputFor, roundUp, vectorAddress } from './cpu-tensor.ts';
import type { Kernels } from './kernels.ts';

/** The causal convolution, for sequences and for single tokens. */
export class CpuConvolution {
  readonly #memory: CpuMemory;
  readonly #kernels: Kernels;

  constructor(memory: CpuMemory, kernels: Kernels) {
    this.#memory = memory;
    this.#kernels = kernels;
  }

  sequences(args: CausalConv1dArgs): Tensor {
    const [C, K] = args.weight.shape;
    const x = this.#floats(args.x, 'x', [null, C]);
    const T = x.shape[0];
    const states = this.#floats(args.convStates, 'convStates', [null, C, null]);
    const W = checkStateWidth(states, K);
    const starts = checkQueryStartLoc(args.queryStartLoc, T);
    const count = starts.length - 1;
    const slots = slotsOrDefault(args.cacheIndices, 'cacheIndices', count);
    checkSlots(slots, states.shape[0], 'cacheIndices');
    const hasInitialState = args.hasInitialState && ints(args.hasInitialState, 'hasInitialState', count);
    const result = outputFor(this.#memory, args.out, [T, C]);
    const padded = roundUp(C, 4);
    this.#withParameters(args, (weight, bias) => {
      const longest = starts.reduce((most, start, b) => Math.max(most, b === 0 ? 0 : start - starts[b - 1]), 0);
      const scratch = this.#memory.allocate(4 * padded * (K + 1 + W + longest));
      for (let b = 0; b < count; b++) {
        const tokens = starts[b + 1] - starts[b];
        const from = x.address + starts[b] * x.byteStride;
        const to = result.out.address + starts[b] * result.out.byteStride;
        if (tokens === 0) continue;
        if (slots[b] === PAD_SLOT_ID) {
          this.#copyRows(from, x.byteStride, to, result.out.byteStride, tokens, C);
          continue;
        }
        const state = states.address + slots[b] * states.byteStride;
        this.#kernels.convSequence(
          from,
          x.byteStride,
          weight,
          bias,
          state,
          to,
          result.out.byteStride,
          tokens,
          C,
          padded,
          K,
          W,
          hasInitialState?.[b] ? 1 : 0,
          isSilu(args.activation),
          scratch,
        );
      }
    });
    return result.finish();
  }

  update(args: CausalConv1dUpdateArgs): Tensor {
    const [C, K] = args.weight.shape;
    const several = args.x.shape.length === 3;
    // Ring buffers and several tokens a row are for other models; the reference computes the same sums.
    if (several || args.cacheSeqlens) return this.#referenceUpdate(args);
    const x = this.#floats(args.x, 'x', [null, C]);
    const B = x.shape[0];
    const states = this.#floats(args.convState, 'convState', [null, C, null]);
    const W = checkStateWidth(states, K);
    const slots = slotsOrDefault(args.convStateIndices, 'convStateIndices', B);
    checkSlots(slots, states.shape[0], 'convStateIndices');
    const result = outputFor(this.#memory, args.out, [B, C]);
    this.#withParameters(args, (weight, bias) => {
      for (let b = 0; b < B; b++) {
        const from = x.address + b * x.byteStride;
        const to = result.out.address + b * result.out.byteStride;
        if (slots[b] === PAD_SLOT_ID) {
          this.#copyRows(from, x.byteStride, to, result.out.byteStride, 1, C);
          continue;
        }
        const state = states.address + slots[b] * states.byteStride;
        this.#kernels.convStep(from, weight, bias, state, to, C, K, W, isSilu(args.activation));
      }
    });
    return result.finish();
  }

  #referenceUpdate(args: CausalConv1dUpdateArgs): Tensor {
    const out = args.out ?? CpuTensor.allocate(this.#memory, args.x.shape);
    const view = (x: Tensor, name: string) => this.#floats(x, name, x.shape).view();
    causalConv1dUpdate({
      ...args,
      x: view(args.x, 'x'),
      convState: view(args.convState, 'convState'),
      weight: view(args.weight, 'weight'),
      bias: args.bias && view(args.bias, 'bias'),
      out: view(out, 'out'),
    });
    return out;
  }

  /** Runs with the addresses of the weight, [channel][K], and of the bias, 0 where there is none. */
  #withParameters(
    args: { readonly weight: Tensor; readonly bias?: Tensor | undefined },
    run: (weight: number, bias: number) => void,
  ): void {
    this.#memory.scope(() => {
      const [C, K] = args.weight.shape;
      const given = this.#floats(args.weight, 'weight', [C, null]);
      const bias = args.bias ? vectorAddress(this.#memory, args.bias, 'bias', C) : 0;
      run(given.stride === K ? given.address : this.#denseRows(given), bias);
    });
  }

  #denseRows(x: CpuTensor): number {
    const [rows, columns] = x.shape;
    const address = this.#memory.allocate(4 * rows * columns);
    this.#copyRows(x.address, x.byteStride, address, 4 * columns, rows, columns);
    return address;
  }

  #copyRows(from: number, fromStride: number, to: number, toStride: number, rows: number, C: number): void {
    for (let r = 0; r < rows; r++) {
      const source = from + r * fromStride;
      this.#memory.bytes.copyWithin(to + r * toStride, source, source + 4 * C);
    }
  }

  #floats(x: Tensor, name: string, expected: readonly (number | null)[]): CpuTensor {
    return cpuFloats(this.#memory, x, name, expected);
  }
}

function isSilu(activation: Activation | undefined): number {
  return activation === 'silu' || activation === 'swish' ? 1 : 0;
}

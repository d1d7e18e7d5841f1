import type { Tensor } from '../../../tensor/tensor.ts';
import {
  type Activation,
  type CausalConv1dArgs,
  type CausalConv1dUpdateArgs,
  checkStateWidth,
} from '../../contract/convolution.ts';
import { ints } from '../../contract/host-tensor.ts';
import { checkQueryStartLoc, checkSlots, PAD_SLOT_ID, slotsOrDefault } from '../../contract/sequences.ts';
import { causalConv1dUpdate } from '../../reference/causal-conv1d.ts';
import type { Kernels } from '../kernels/kernels.ts';
import { slotAddress } from '../memory/cpu-indices.ts';
import type { CpuMemory } from '../memory/cpu-memory.ts';
import type { CpuRuntime } from '../memory/cpu-runtime.ts';
import { CpuTensor, cpuFloats, outputFor, roundUp, vectorAddress } from '../memory/cpu-tensor.ts';

/** The causal convolution, for sequences and for single tokens. */
export class CpuConvolution {
  readonly #runtime: CpuRuntime;
  readonly #memory: CpuMemory;
  readonly #kernels: Kernels;

  constructor(runtime: CpuRuntime) {
    this.#runtime = runtime;
    this.#memory = runtime.memory;
    this.#kernels = runtime.kernels;
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
    const result = outputFor(this.#runtime, args.out, [T, C]);
    this.#withParameters(args, W, (weight, bias, padded, scratch) => {
      const copy = args.keepState === false ? this.#memory.allocate(4 * C * W) : 0;
      for (let b = 0; b < count; b++) {
        const tokens = starts[b + 1] - starts[b];
        const from = x.address + starts[b] * x.byteStride;
        const to = result.out.address + starts[b] * result.out.byteStride;
        if (tokens === 0) continue;
        if (slots[b] === PAD_SLOT_ID) {
          this.#kernels.copyRows(from, x.byteStride, to, result.out.byteStride, tokens, 4 * C);
          continue;
        }
        const slot = states.address + slots[b] * states.byteStride;
        if (args.keepState === false) this.#kernels.copyRows(slot, 0, copy, 0, 1, 4 * C * W);
        this.#kernels.convSequence(
          from,
          x.byteStride,
          weight,
          bias,
          args.keepState === false ? copy : slot,
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
    const result = outputFor(this.#runtime, args.out, [B, C]);
    this.#withParameters(args, W, (weight, bias, padded, scratch) => {
      this.#kernels.convRows(
        x.address,
        x.byteStride,
        weight,
        bias,
        states.address,
        states.byteStride,
        slotAddress(this.#memory, args.convStateIndices, slots),
        result.out.address,
        result.out.byteStride,
        B,
        C,
        padded,
        K,
        W,
        isSilu(args.activation),
        scratch,
      );
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

  /** Runs with the addresses of the weight, [channel][K], of the bias, 0 where there is none, and of scratch memory. */
  #withParameters(
    args: { readonly weight: Tensor; readonly bias?: Tensor | undefined },
    W: number,
    run: (weight: number, bias: number, padded: number, scratch: number) => void,
  ): void {
    this.#memory.scope(() => {
      const [C, K] = args.weight.shape;
      const given = this.#floats(args.weight, 'weight', [C, null]);
      const bias = args.bias ? vectorAddress(this.#runtime, args.bias, 'bias', C) : 0;
      const padded = roundUp(C, 4);
      const scratch = this.#memory.allocate(4 * padded * (K + 1 + W));
      run(given.stride === K ? given.address : this.#denseRows(given), bias, padded, scratch);
    });
  }

  #denseRows(x: CpuTensor): number {
    const [rows, columns] = x.shape;
    const address = this.#memory.allocate(4 * rows * columns);
    this.#kernels.copyRows(x.address, x.byteStride, address, 4 * columns, rows, 4 * columns);
    return address;
  }

  #floats(x: Tensor, name: string, expected: readonly (number | null)[]): CpuTensor {
    return cpuFloats(this.#memory, x, name, expected);
  }
}

function isSilu(activation: Activation | undefined): number {
  return activation === 'silu' || activation === 'swish' ? 1 : 0;
}

import type { Tensor } from '../../../tensor/tensor.ts';
import { MLP_ACTIVATIONS, type MlpActivation } from '../../contract/activations.ts';
import { checkRouting, type RoutingOptions } from '../../contract/experts.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { CpuMemory } from '../memory/cpu-memory.ts';
import type { CpuRuntime } from '../memory/cpu-runtime.ts';
import { CpuTensor, cpuFloats, vectorAddress } from '../memory/cpu-tensor.ts';

/** Activations, and the choice of experts. */
export class CpuFeedForward {
  readonly #runtime: CpuRuntime;
  readonly #memory: CpuMemory;
  readonly #kernels: Kernels;

  constructor(runtime: CpuRuntime) {
    this.#runtime = runtime;
    this.#memory = runtime.memory;
    this.#kernels = runtime.kernels;
  }

  activate(x: Tensor, activation: MlpActivation): CpuTensor {
    const rows = this.#floats(x, 'x', [null, null]);
    const [T, C] = x.shape;
    const out = CpuTensor.allocate(this.#memory, x.shape);
    this.#kernels.activateRows(
      rows.address,
      rows.byteStride,
      out.address,
      out.byteStride,
      T,
      C,
      activationKind(activation),
    );
    return out;
  }

  activateAndMul(gate: Tensor, x: Tensor, activation: MlpActivation): CpuTensor {
    const rows = this.#floats(x, 'x', [null, null]);
    const gates = this.#floats(gate, 'gate', x.shape);
    const [T, C] = x.shape;
    const out = CpuTensor.allocate(this.#memory, x.shape);
    this.#kernels.activateAndMulRows(
      gates.address,
      gates.byteStride,
      rows.address,
      rows.byteStride,
      out.address,
      out.byteStride,
      T,
      C,
      activationKind(activation),
    );
    return out;
  }

  topKRouting(logits: Tensor, options: RoutingOptions, correctionBias?: Tensor): CpuTensor {
    const rows = this.#floats(logits, 'logits', [null, null]);
    const [T, E] = logits.shape;
    checkRouting(E, options);
    const { topK, scoring, numGroups = 1, topKGroups = numGroups, renormalize, scale = 1 } = options;
    const out = CpuTensor.allocate(this.#memory, logits.shape);
    this.#memory.scope(() => {
      this.#kernels.topKRouting(
        rows.address,
        rows.byteStride,
        correctionBias ? vectorAddress(this.#runtime, correctionBias, 'correctionBias', E) : 0,
        out.address,
        out.byteStride,
        T,
        E,
        topK,
        scoring === 'sigmoid' ? 1 : 0,
        numGroups,
        topKGroups,
        renormalize ? 1 : 0,
        scale,
        this.#memory.allocate(this.#kernels.routingScratch(E, numGroups)),
      );
    });
    return out;
  }

  #floats(x: Tensor, name: string, expected: readonly (number | null)[]): CpuTensor {
    return cpuFloats(this.#memory, x, name, expected);
  }
}

/** Number of an activation in kernels/activation.ts. */
export function activationKind(activation: MlpActivation): number {
  return MLP_ACTIVATIONS.indexOf(activation);
}

import type { Tensor } from '../../../tensor/tensor.ts';
import type { MlpActivation } from '../../contract/activations.ts';
import { checkExperts, type ExpertWeights } from '../../contract/experts.ts';
import type { KernelCalls } from '../kernels/kernel-calls.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { CpuMemory } from '../memory/cpu-memory.ts';
import type { CpuRuntime } from '../memory/cpu-runtime.ts';
import { CpuTensor, cpuFloats } from '../memory/cpu-tensor.ts';
import { type CpuWeight, cpuWeight } from '../memory/packed-weight.ts';
import { PANEL } from '../memory/panels.ts';
import { activationKind } from './feed-forward.ts';
import type { CpuLinear } from './linear.ts';

/** An expert's matrices as this backend packs them. */
interface PackedExpert {
  readonly up: CpuWeight;
  readonly down: CpuWeight;
}

/** Memory for the rows of any one expert: all rows of the batch at most. */
interface ExpertRows {
  /** Addresses of two lists: the visits' row numbers in the batch, and their weights. */
  readonly indices: number;
  readonly weights: number;
  readonly input: CpuTensor;
  readonly hidden: CpuTensor;
  readonly activated: CpuTensor;
  readonly output: CpuTensor;
  readonly linear: number;
}

/**
 * Mixtures of experts. Each expert runs once on the rows that visit it, so its weights are read once per step. Which rows
 * they are is known only when the step runs: the host goes over the experts each time, in memory that was taken before.
 */
export class CpuExperts {
  readonly #memory: CpuMemory;
  readonly #kernels: Kernels;
  readonly #calls: KernelCalls;
  readonly #linear: CpuLinear;

  constructor({ memory, kernels }: CpuRuntime, calls: KernelCalls, linear: CpuLinear) {
    this.#memory = memory;
    this.#kernels = kernels;
    this.#calls = calls;
    this.#linear = linear;
  }

  fusedMoe(
    x: Tensor,
    routing: Tensor,
    experts: readonly ExpertWeights[],
    activation: MlpActivation,
    gated: boolean,
  ): CpuTensor {
    const [T, C] = x.shape;
    const input = cpuFloats(this.#memory, x, 'x', [null, null]);
    const weights = cpuFloats(this.#memory, routing, 'routing', [T, experts.length]);
    const out = CpuTensor.allocate(this.#memory, [T, checkExperts(experts, C, gated)]);
    const packed = experts.map(({ up, down }) => ({
      up: cpuWeight(this.#memory, up),
      down: cpuWeight(this.#memory, down),
    }));
    this.#memory.scope(() => {
      const rows = this.#allocate(T, packed);
      const kind = activationKind(activation);
      this.#calls.run(() => {
        this.#kernels.clear(out.address, T * out.byteStride);
        for (let e = 0; e < packed.length; e++) {
          const count = this.#kernels.expertRows(weights.address, weights.byteStride, T, e, rows.indices, rows.weights);
          if (count > 0) this.#visit(packed[e], rows, count, input, out, kind, gated);
        }
      });
    });
    return out;
  }

  #allocate(T: number, experts: readonly PackedExpert[]): ExpertRows {
    const [{ up, down }] = experts;
    // Experts may be stored in different ways.
    const scratch = (most: number, each: PackedExpert) =>
      Math.max(most, this.#linear.scratch(T, each.up), this.#linear.scratch(T, each.down));
    const matrix = (columns: number) => CpuTensor.allocate(this.#memory, [T, columns], PANEL);
    return {
      indices: this.#memory.allocate(4 * T),
      weights: this.#memory.allocate(4 * T),
      input: matrix(up.inFeatures),
      hidden: matrix(up.outFeatures),
      activated: matrix(down.inFeatures),
      output: matrix(down.outFeatures),
      linear: this.#memory.allocate(experts.reduce(scratch, 0)),
    };
  }

  #visit(
    { up, down }: PackedExpert,
    rows: ExpertRows,
    count: number,
    x: CpuTensor,
    out: CpuTensor,
    kind: number,
    gated: boolean,
  ): void {
    const kernels = this.#kernels;
    const { indices, weights, input, hidden, activated, output, linear } = rows;
    kernels.gatherRows(x.address, x.byteStride, indices, input.address, input.byteStride, count, 4 * up.inFeatures);
    this.#linear.multiply(input, up, hidden, count, linear);
    const [from, to, I] = [hidden.address, activated.address, down.inFeatures];
    if (gated) {
      const value = from + 4 * I;
      kernels.activateAndMulRows(
        from,
        hidden.byteStride,
        value,
        hidden.byteStride,
        to,
        activated.byteStride,
        count,
        I,
        kind,
      );
    } else {
      kernels.activateRows(from, hidden.byteStride, to, activated.byteStride, count, I, kind);
    }
    this.#linear.multiply(activated, down, output, count, linear);
    kernels.addWeightedRows(
      output.address,
      output.byteStride,
      indices,
      weights,
      out.address,
      out.byteStride,
      count,
      down.outFeatures,
    );
  }
}

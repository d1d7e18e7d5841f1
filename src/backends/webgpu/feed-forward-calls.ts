import type { Tensor } from '../../tensor/tensor.ts';
import type { ExpertWeights, MlpActivation, RoutingOptions } from '../feed-forward-ops.ts';
import { checkExperts, checkRouting } from '../reference/feed-forward.ts';
import type { GpuArrays } from './arrays.ts';
import { GpuTensor, gpuFloats } from './gpu-tensor.ts';
import type { PendingWork } from './pending-work.ts';
import type { RowCalls } from './row-calls.ts';

/** The operations of feed-forward layers: checks calls and enqueues them. */
export class FeedForwardCalls {
  readonly #owner: object;
  readonly #work: PendingWork;
  readonly #arrays: GpuArrays;
  readonly #rows: RowCalls;

  constructor(owner: object, work: PendingWork, arrays: GpuArrays, rows: RowCalls) {
    this.#owner = owner;
    this.#work = work;
    this.#arrays = arrays;
    this.#rows = rows;
  }

  activate(x: Tensor, activation: MlpActivation): GpuTensor {
    const input = this.#floats(x, 'x', [null, null]);
    const out = this.#arrays.make(x.shape);
    if (!out.isEmpty) this.#work.enqueue({ type: 'activate', gate: undefined, x: input, activation, out });
    return out;
  }

  activateAndMul(gate: Tensor, x: Tensor, activation: MlpActivation): GpuTensor {
    const input = this.#floats(x, 'x', [null, null]);
    const gates = this.#floats(gate, 'gate', x.shape);
    const out = this.#arrays.make(x.shape);
    if (!out.isEmpty) this.#work.enqueue({ type: 'activate', gate: gates, x: input, activation, out });
    return out;
  }

  topKRouting(logits: Tensor, options: RoutingOptions, correctionBias?: Tensor): GpuTensor {
    const rows = this.#floats(logits, 'logits', [null, null]);
    const E = logits.shape[1];
    const bias = correctionBias && this.#floats(correctionBias, 'correctionBias', [E]);
    checkRouting(E, options);
    const out = this.#arrays.make(logits.shape);
    if (!out.isEmpty) this.#work.enqueue({ type: 'topKRouting', logits: rows, options, bias, out });
    return out;
  }

  /** Every expert runs on all rows, and counts where it has a weight. */
  fusedMoe(
    x: Tensor,
    routing: Tensor,
    experts: readonly ExpertWeights[],
    activation: MlpActivation,
    gated: boolean,
  ): GpuTensor {
    const [T, C] = x.shape;
    this.#floats(x, 'x', [null, null]);
    const weights = this.#floats(routing, 'routing', [T, experts.length]);
    const out = this.#arrays.make([T, checkExperts(experts, C, gated)]);
    if (out.isEmpty) return out;
    this.#arrays.clear(out);
    for (const [e, { up, down }] of experts.entries()) {
      const hidden = this.#rows.linear(x, up);
      const [gate, value] = gated ? halves(hidden) : [undefined, hidden];
      const active = gate ? this.activateAndMul(gate, value, activation) : this.activate(value, activation);
      const y = this.#rows.linear(active, down);
      const column = new GpuTensor(weights.storage, [T, 1], weights.offset + e, weights.stride);
      this.#work.enqueue({ type: 'addWeighted', x: y, weights: column, out });
    }
    return out;
  }

  #floats(x: Tensor, name: string, expected: readonly (number | null)[]): GpuTensor {
    return gpuFloats(this.#owner, x, name, expected);
  }
}

function halves({ storage, shape: [T, C], offset, stride }: GpuTensor): [GpuTensor, GpuTensor] {
  const half = C / 2;
  return [new GpuTensor(storage, [T, half], offset, stride), new GpuTensor(storage, [T, half], offset + half, stride)];
}

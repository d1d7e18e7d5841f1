import type { Tensor } from '../../../tensor/tensor.ts';
import type { MlpActivation } from '../../contract/activations.ts';
import { checkExperts, checkRouting, type ExpertWeights, type RoutingOptions } from '../../contract/experts.ts';
import { GpuTensor, gpuFloats, rowsOf } from '../device/gpu-tensor.ts';
import type { GpuArrays } from '../graph/arrays.ts';
import type { PendingWork } from '../graph/pending-work.ts';
import { type ExpertMatrix, expertMatrix } from '../linear/expert-matrix.ts';
import { ExpertTable } from './expert-table.ts';

/** The operations of feed-forward layers: checks calls and enqueues them. */
export class FeedForwardCalls {
  readonly #owner: object;
  readonly #work: PendingWork;
  readonly #arrays: GpuArrays;
  /** Of routings that were made here: how many experts each row visits. Otherwise it may be all. */
  readonly #visitsPerRow = new WeakMap<GpuTensor, number>();

  constructor(owner: object, work: PendingWork, arrays: GpuArrays) {
    this.#owner = owner;
    this.#work = work;
    this.#arrays = arrays;
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
    this.#visitsPerRow.set(out, options.topK);
    return out;
  }

  fusedMoe(
    x: Tensor,
    routing: Tensor,
    experts: readonly ExpertWeights[],
    activation: MlpActivation,
    gated: boolean,
  ): GpuTensor {
    const [T, C] = x.shape;
    const input = this.#floats(x, 'x', [null, null]);
    const weights = this.#floats(routing, 'routing', [T, experts.length]);
    const out = this.#arrays.make([T, checkExperts(experts, C, gated)]);
    if (out.isEmpty) return out;
    const up = expertMatrix(
      this.#owner,
      experts.map((expert) => expert.up),
    );
    const down = expertMatrix(
      this.#owner,
      experts.map((expert) => expert.down),
    );
    const perRow = this.#visitsPerRow.get(weights) ?? experts.length;
    const widest = Math.max(up.outFeatures, down.inFeatures, down.outFeatures);
    const rowsAtOnce = Math.max(1, Math.floor(this.#arrays.rowsAtOnce(widest) / perRow));
    for (let begin = 0; begin < T; begin += rowsAtOnce) {
      const end = Math.min(T, begin + rowsAtOnce);
      const table = new ExpertTable(end - begin, experts.length, perRow * (end - begin));
      const some = { x: rowsOf(input, begin, end), routing: rowsOf(weights, begin, end), out: rowsOf(out, begin, end) };
      this.#visit({ ...some, table, up, down, activation, gated });
    }
    return out;
  }

  /** Some rows visit their experts. */
  #visit({ x, routing, out, table, up, down, activation, gated }: Visits): void {
    const words = this.#arrays.make([table.words]);
    const hidden = this.#arrays.make([table.visits, up.outFeatures]);
    const y = this.#arrays.make([table.visits, down.outFeatures]);
    this.#work.enqueue({ type: 'expertTable', routing, table, out: words });
    this.#work.enqueue({ type: 'expertLinear', x, isRouted: true, table, words, matrix: up, out: hidden });
    const [gate, value] = gated ? halves(hidden) : [undefined, hidden];
    const active = gate ? this.activateAndMul(gate, value, activation) : this.activate(value, activation);
    this.#work.enqueue({ type: 'expertLinear', x: active, isRouted: false, table, words, matrix: down, out: y });
    this.#work.enqueue({ type: 'expertSum', y, routing, table, words, out });
  }

  #floats(x: Tensor, name: string, expected: readonly (number | null)[]): GpuTensor {
    return gpuFloats(this.#owner, x, name, expected);
  }
}

/** Rows, and the experts that they visit. */
interface Visits {
  readonly x: GpuTensor;
  readonly routing: GpuTensor;
  readonly out: GpuTensor;
  readonly table: ExpertTable;
  readonly up: ExpertMatrix;
  readonly down: ExpertMatrix;
  readonly activation: MlpActivation;
  readonly gated: boolean;
}

function halves({ storage, shape: [T, C], offset, stride }: GpuTensor): [GpuTensor, GpuTensor] {
  const half = C / 2;
  return [new GpuTensor(storage, [T, half], offset, stride), new GpuTensor(storage, [T, half], offset + half, stride)];
}

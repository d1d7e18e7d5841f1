import type { Tensor } from '../../tensor/tensor.ts';
import type { PagedAttentionArgs, ReshapeAndCacheArgs } from '../attention-ops.ts';
import type { ExpertWeights, MlpActivation, RoutingOptions } from '../feed-forward-ops.ts';
import * as attention from '../reference/attention.ts';
import * as dense from '../reference/dense.ts';
import * as feedForward from '../reference/feed-forward.ts';
import type { HostTensor } from '../reference/host-tensor.ts';
import type { CpuMemory } from './cpu-memory.ts';
import type { CpuRuntime } from './cpu-runtime.ts';
import { CpuTensor, cpuFloats } from './cpu-tensor.ts';
import type { KernelCalls } from './kernel-calls.ts';
import type { Kernels } from './kernels.ts';
import type { CpuLinear } from './linear.ts';

/** Operations without kernels of their own: the reference's code, on views of the WebAssembly memory. */
export class CpuPlainOps {
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

  mulScalar(x: Tensor, factor: number): CpuTensor {
    const rows = this.#floats(x, 'x');
    return this.#compute(x.shape, () => dense.mulScalar(rows.view(), factor));
  }

  // --- attention --------------------------------------------------------------------------------------------------

  rotaryTable(positions: Tensor, inverseFrequencies: Tensor, scale: number): CpuTensor {
    const frequencies = this.#floats(inverseFrequencies, 'inverseFrequencies');
    const shape = [positions.shape[0], 2 * frequencies.shape[0]];
    return this.#compute(shape, () => attention.rotaryTable(positions, frequencies.view(), scale));
  }

  rotaryEmbedding(x: Tensor, table: Tensor, headDim: number): CpuTensor {
    const rows = this.#floats(x, 'x');
    const angles = this.#floats(table, 'table');
    return this.#compute(x.shape, () => attention.rotaryEmbedding(rows.view(), angles.view(), headDim));
  }

  reshapeAndCache({ slotMapping, ...args }: ReshapeAndCacheArgs): void {
    const key = this.#floats(args.key, 'key');
    const value = this.#floats(args.value, 'value');
    const keyCache = this.#floats(args.keyCache, 'keyCache');
    const valueCache = this.#floats(args.valueCache, 'valueCache');
    this.#calls.run(() =>
      attention.reshapeAndCache({
        key: key.view(),
        value: value.view(),
        keyCache: keyCache.view(),
        valueCache: valueCache.view(),
        slotMapping,
      }),
    );
  }

  pagedAttention(args: PagedAttentionArgs): CpuTensor {
    const query = this.#floats(args.query, 'query');
    const keyCache = this.#floats(args.keyCache, 'keyCache');
    const valueCache = this.#floats(args.valueCache, 'valueCache');
    return this.#compute(query.shape, () =>
      attention.pagedAttention({
        ...args,
        query: query.view(),
        keyCache: keyCache.view(),
        valueCache: valueCache.view(),
      }),
    );
  }

  // --- feed-forward layers ----------------------------------------------------------------------------------------

  activate(x: Tensor, activation: MlpActivation): CpuTensor {
    const rows = this.#floats(x, 'x');
    return this.#compute(x.shape, () => feedForward.activate(rows.view(), activation));
  }

  activateAndMul(gate: Tensor, x: Tensor, activation: MlpActivation): CpuTensor {
    const gates = this.#floats(gate, 'gate');
    const rows = this.#floats(x, 'x');
    return this.#compute(x.shape, () => feedForward.activateAndMul(gates.view(), rows.view(), activation));
  }

  topKRouting(logits: Tensor, options: RoutingOptions, correctionBias?: Tensor): CpuTensor {
    const rows = this.#floats(logits, 'logits');
    const bias = correctionBias && this.#floats(correctionBias, 'correctionBias');
    return this.#compute(logits.shape, () => feedForward.topKRouting(rows.view(), options, bias?.view()));
  }

  /** Each expert runs on the rows that visit it. Which they are is known only when the step runs. */
  fusedMoe(
    x: Tensor,
    routing: Tensor,
    experts: readonly ExpertWeights[],
    activation: MlpActivation,
    gated: boolean,
  ): CpuTensor {
    const rows = this.#floats(x, 'x');
    const [T, C] = x.shape;
    const weights = cpuFloats(this.#memory, routing, 'routing', [T, experts.length]);
    const out = CpuTensor.allocate(this.#memory, [T, feedForward.checkExperts(experts, C, gated)]);
    const scratch = this.#memory.top;
    const visit = (expert: ExpertWeights, e: number) => {
      const visitors = Array.from({ length: T }, (_, t) => t).filter((t) => weights.row(t)[e] !== 0);
      if (visitors.length === 0) return;
      const own = CpuTensor.allocate(this.#memory, [visitors.length, C]);
      visitors.forEach((t, i) => {
        own.row(i).set(rows.row(t));
      });
      const y = this.#runExpert(own, expert, activation, gated);
      visitors.forEach((t, i) => {
        const [weight, values, sums] = [weights.row(t)[e], y.row(i), out.row(t)];
        for (let c = 0; c < sums.length; c++) sums[c] += weight * values[c];
      });
    };
    this.#calls.run(() => {
      this.#kernels.clear(out.address, T * out.byteStride);
      // A repeated step allocates nothing, so its memory begins where it did at first.
      for (const [e, expert] of experts.entries()) this.#memory.scopeAt(scratch, () => visit(expert, e));
    });
    return out;
  }

  #runExpert(rows: CpuTensor, { up, down }: ExpertWeights, activation: MlpActivation, gated: boolean): CpuTensor {
    const hidden = this.#linear.run(rows, up, undefined);
    if (!gated) return this.#linear.run(this.activate(hidden, activation), down, undefined);
    const half = up.outFeatures / 2;
    const [gate, value] = [0, half].map(
      (begin) => new CpuTensor(this.#memory, hidden.address + 4 * begin, [rows.shape[0], half], hidden.stride),
    );
    return this.#linear.run(this.activateAndMul(gate, value, activation), down, undefined);
  }

  /** Allocates the result and fills it, now and each time the step is repeated. */
  #compute(shape: readonly number[], compute: () => HostTensor<Float32Array>): CpuTensor {
    const out = CpuTensor.allocate(this.#memory, shape);
    this.#calls.run(() => {
      const { data, rowSize, stride } = compute();
      for (let t = 0; t < shape[0]; t++) out.row(t).set(data.subarray(t * stride, t * stride + rowSize));
    });
    return out;
  }

  #floats(x: Tensor, name: string): CpuTensor {
    return cpuFloats(this.#memory, x, name, x.shape);
  }
}

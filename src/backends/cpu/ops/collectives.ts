import type { AddArrays, ProcessGroup } from '../../../distributed/process-group.ts';
import type { Tensor } from '../../../tensor/tensor.ts';
import type { KernelCalls } from '../kernels/kernel-calls.ts';
import type { CpuMemory } from '../memory/cpu-memory.ts';
import type { CpuRuntime } from '../memory/cpu-runtime.ts';
import { CpuTensor, cpuFloats } from '../memory/cpu-tensor.ts';

/** Exchanges between ranks. They happen on the host, between memories, so each is recorded as work of its own. */
export class CpuCollectives {
  readonly #runtime: CpuRuntime;
  readonly #memory: CpuMemory;
  readonly #calls: KernelCalls;

  constructor(runtime: CpuRuntime, calls: KernelCalls) {
    this.#runtime = runtime;
    this.#memory = runtime.memory;
    this.#calls = calls;
  }

  allReduce(tensors: readonly Tensor[], group: ProcessGroup): Tensor[] {
    const own = tensors.map((x) => cpuFloats(this.#memory, x, 'x', x.shape));
    if (group.size === 1) return own;
    // Padding goes along where there is any: one exchange is quicker than one per row.
    const parts = own.map(({ address, shape: [rows = 1], stride, rowSize }) => {
      const begin = address / Float32Array.BYTES_PER_ELEMENT;
      return { begin, end: begin + (rows === 0 ? 0 : (rows - 1) * stride + rowSize) };
    });
    const longest = parts.reduce((most, { begin, end }) => Math.max(most, end - begin), 0);
    const staging = this.#memory.scope(() => this.#memory.allocate(4 * longest));
    const add = adderIn(this.#runtime, staging);
    this.#calls.run(() => {
      const { floats } = this.#memory;
      const arrays = parts.map(({ begin, end }) => floats.subarray(begin, end));
      group.allReduce(arrays, add);
    });
    return own;
  }

  allGatherColumns(x: Tensor, group: ProcessGroup): Tensor {
    if (group.size === 1) return x;
    const [T, C] = x.shape;
    const own = cpuFloats(this.#memory, x, 'x', [T, C]);
    const out = CpuTensor.allocate(this.#memory, [T, group.size * C]);
    const columns = Array.from(
      { length: group.size },
      (_, r) => new CpuTensor(this.#memory, out.address + 4 * r * C, [T, C], out.stride),
    );
    const rows = (tensor: CpuTensor) => Array.from({ length: T }, (_, t) => tensor.row(t));
    this.#calls.run(() => group.allGather(rows(own), columns.map(rows)));
    return out;
  }
}

/** Sums by kernels. The ranks' arrays come through `staging`, because kernels reach no other memory. */
function adderIn({ memory, kernels }: CpuRuntime, staging: number): AddArrays {
  return (arrays, out, rank) => {
    const add = (array: Float32Array) => {
      memory.floats.set(array, staging / 4);
      kernels.add(out.byteOffset, 0, staging, 0, out.byteOffset, 0, 1, out.length);
    };
    // A sum of two is the same in either order, and `out` holds the own array already.
    if (arrays.length === 2) return add(arrays[1 - rank]);
    out.set(arrays[0]);
    for (const array of arrays.slice(1)) add(array);
  };
}

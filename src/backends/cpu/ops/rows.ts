import type { Tensor } from '../../../tensor/tensor.ts';
import { checkConcat } from '../../contract/arrays.ts';
import { checkGroups, type GroupLayout } from '../../contract/norms.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { CpuMemory } from '../memory/cpu-memory.ts';
import type { CpuRuntime } from '../memory/cpu-runtime.ts';
import { CpuTensor, cpuFloats, vectorAddress } from '../memory/cpu-tensor.ts';

/** Operations on rows one by one: sums, products, gates, norms. */
export class CpuRows {
  readonly #runtime: CpuRuntime;
  readonly #memory: CpuMemory;
  readonly #kernels: Kernels;

  constructor(runtime: CpuRuntime) {
    this.#runtime = runtime;
    this.#memory = runtime.memory;
    this.#kernels = runtime.kernels;
  }

  concatColumns(parts: readonly Tensor[]): CpuTensor {
    const [T] = checkConcat(parts);
    const out = CpuTensor.allocate(this.#memory, [T, parts.reduce((sum, { shape }) => sum + shape[1], 0)]);
    let to = out.address;
    for (const part of parts) {
      const from = this.#floats(part, 'a part', part.shape);
      this.#kernels.copyRows(...at(from), to, out.byteStride, T, 4 * from.rowSize);
      to += 4 * from.rowSize;
    }
    return out;
  }

  add(x: Tensor, y: Tensor): CpuTensor {
    const a = this.#floats(x, 'x', [null, null]);
    const b = this.#floats(y, 'y', x.shape);
    const out = this.#like(a);
    this.#kernels.add(...at(a), ...at(b), ...at(out), ...size(out));
    return out;
  }

  mulScalar(x: Tensor, factor: number): CpuTensor {
    const a = this.#floats(x, 'x', [null, null]);
    const out = this.#like(a);
    this.#kernels.mulScalar(...at(a), factor, ...at(out), ...size(out));
    return out;
  }

  mulColumns(x: Tensor, v: Tensor): CpuTensor {
    const a = this.#floats(x, 'x', [null, null]);
    const factors = vectorAddress(this.#runtime, v, 'v', x.shape[1]);
    const out = this.#like(a);
    this.#kernels.mulColumns(...at(a), factors, ...at(out), ...size(out));
    return out;
  }

  rmsNorm(x: Tensor, weight: Tensor, eps: number): CpuTensor {
    const a = this.#floats(x, 'x', [null, null]);
    const scales = vectorAddress(this.#runtime, weight, 'weight', x.shape[1]);
    const out = this.#like(a);
    this.#kernels.rmsNorm(...at(a), scales, ...at(out), ...size(out), eps);
    return out;
  }

  siluGate(x: Tensor, z: Tensor): CpuTensor {
    const a = this.#floats(x, 'x', [null, null]);
    const gate = this.#floats(z, 'z', x.shape);
    const out = this.#like(a);
    this.#kernels.siluGate(...at(a), ...at(gate), ...at(out), ...size(out));
    return out;
  }

  groupSquareSums(v: Tensor, groups: number, layout: GroupLayout): CpuTensor {
    const values = this.#floats(v, 'v', [null, null]);
    const [T, C] = v.shape;
    checkGroups(C, groups, layout);
    const out = CpuTensor.allocate(this.#memory, [T, groups]);
    const { groupSize, firstColumn } = layout;
    this.#kernels.groupSquareSums(...at(values), ...at(out), T, C, groups, groupSize, firstColumn);
    return out;
  }

  scaleByGroupNorm(v: Tensor, squareSums: Tensor, weight: Tensor, eps: number, layout: GroupLayout): CpuTensor {
    const [T, C] = v.shape;
    const values = this.#floats(v, 'v', [null, null]);
    const sums = this.#floats(squareSums, 'squareSums', [T, null]);
    const scales = vectorAddress(this.#runtime, weight, 'weight', C);
    checkGroups(C, squareSums.shape[1], layout);
    const out = this.#like(values);
    const { groupSize, firstColumn } = layout;
    this.#kernels.scaleByGroupNorm(
      ...at(values),
      ...at(sums),
      scales,
      ...at(out),
      ...size(out),
      groupSize,
      firstColumn,
      eps,
    );
    return out;
  }

  scaleRows(x: Tensor, squareSums: Tensor, count: number, eps: number): CpuTensor {
    const rows = this.#floats(x, 'x', [null, null]);
    const sums = this.#floats(squareSums, 'squareSums', [x.shape[0], 1]);
    const out = this.#like(rows);
    this.#kernels.scaleRows(...at(rows), ...at(sums), ...at(out), ...size(out), count, eps);
    return out;
  }

  #like(x: CpuTensor): CpuTensor {
    return CpuTensor.allocate(this.#memory, x.shape);
  }

  #floats(x: Tensor, name: string, expected: readonly (number | null)[]): CpuTensor {
    return cpuFloats(this.#memory, x, name, expected);
  }
}

/** Address and stride, as kernels take them. */
function at(x: CpuTensor): [address: number, stride: number] {
  return [x.address, x.byteStride];
}

/** Rows and columns. */
function size(x: CpuTensor): [rows: number, columns: number] {
  return [x.shape[0], x.shape[1]];
}

import { elementCount, type Tensor } from '../../../tensor/tensor.ts';
import { checkConcat } from '../../contract/arrays.ts';
import type { LinearWeight } from '../../contract/linear.ts';
import { checkGroups, type GroupLayout } from '../../contract/norms.ts';
import { checkRowNumbers } from '../../contract/rows.ts';
import { GpuTensor, gpuFloats, gpuIndices } from '../device/gpu-tensor.ts';
import type { GpuArrays } from '../graph/arrays.ts';
import type { ElementwiseOperation, Operation } from '../graph/operation.ts';
import type { PendingWork } from '../graph/pending-work.ts';
import { gpuWeight } from '../linear/linear-weight.ts';

/** Linear layers, norms, and what else happens to rows one by one: checks calls and enqueues them. */
export class RowCalls {
  readonly #owner: object;
  readonly #work: PendingWork;
  readonly #arrays: GpuArrays;

  constructor(owner: object, work: PendingWork, arrays: GpuArrays) {
    this.#owner = owner;
    this.#work = work;
    this.#arrays = arrays;
  }

  linear(x: Tensor, weight: LinearWeight, bias?: Tensor): GpuTensor {
    const w = gpuWeight(this.#owner, weight);
    const input = this.#floats(x, 'x', [null, w.inFeatures]);
    const b = bias && this.#floats(bias, 'bias', [w.outFeatures]);
    return this.#make([x.shape[0], w.outFeatures], (out) => ({ type: 'linear', x: input, weight: w, bias: b, out }));
  }

  embedding(ids: Tensor, table: LinearWeight, firstRow = 0): GpuTensor {
    const w = gpuWeight(this.#owner, table);
    const rows = gpuIndices(this.#owner, ids, 'ids', null);
    return this.#make([ids.shape[0], w.inFeatures], (out) => {
      return { type: 'embedding', ids: rows, table: w, firstRow, out };
    });
  }

  concatColumns(parts: readonly Tensor[]): GpuTensor {
    const [T] = checkConcat(parts);
    const inputs = parts.map((part) => this.#floats(part, 'a part', part.shape));
    const out = this.#arrays.make([T, inputs.reduce((sum, { shape }) => sum + shape[1], 0)]);
    let column = 0;
    for (const x of inputs) {
      const target = new GpuTensor(out.storage, x.shape, out.offset + column, out.stride);
      if (!x.isEmpty) this.#work.enqueue({ type: 'copyRows', x, out: target });
      column += x.shape[1];
    }
    return out;
  }

  gatherRows(x: Tensor, rows: Tensor): GpuTensor {
    const from = this.#floats(x, 'x', [null, null]);
    const indices = gpuIndices(this.#owner, rows, 'rows', null);
    const [T, C] = x.shape;
    checkRowNumbers(indices.data, T);
    return this.#make([indices.data.length, C], (out) => ({ type: 'gatherRows', x: from, rows: indices, out }));
  }

  add(x: Tensor, y: Tensor): GpuTensor {
    return this.#elementwise('add', x, y);
  }

  mulScalar(x: Tensor, factor: number): GpuTensor {
    const a = this.#floats(x, 'x', [null, null]);
    return this.#make(x.shape, (out) => ({ type: 'mulScalar', x: a, factor, out }));
  }

  mulColumns(x: Tensor, v: Tensor): GpuTensor {
    const a = this.#floats(x, 'x', [null, null]);
    const b = this.#floats(v, 'v', [x.shape[1]]);
    return this.#make(x.shape, (out) => ({ type: 'mulColumns', x: a, y: b, out }));
  }

  rmsNorm(x: Tensor, weight: Tensor, eps: number): GpuTensor {
    const input = this.#floats(x, 'x', [null, null]);
    const w = this.#floats(weight, 'weight', [x.shape[1]]);
    return this.#make(x.shape, (out) => ({ type: 'rmsNorm', x: input, weight: w, eps, out }));
  }

  siluGate(x: Tensor, z: Tensor): GpuTensor {
    return this.#elementwise('siluGate', x, z);
  }

  groupSquareSums(v: Tensor, groups: number, layout: GroupLayout): GpuTensor {
    const values = this.#floats(v, 'v', [null, null]);
    checkGroups(v.shape[1], groups, layout);
    return this.#make([v.shape[0], groups], (out) => ({ type: 'groupSquareSums', v: values, layout, out }));
  }

  scaleByGroupNorm(v: Tensor, squareSums: Tensor, weight: Tensor, eps: number, layout: GroupLayout): GpuTensor {
    const values = this.#floats(v, 'v', [null, null]);
    const [T, C] = v.shape;
    const sums = this.#floats(squareSums, 'squareSums', [T, null]);
    const w = this.#floats(weight, 'weight', [C]);
    checkGroups(C, squareSums.shape[1], layout);
    return this.#make(v.shape, (out) => {
      return { type: 'scaleByGroupNorm', v: values, squareSums: sums, weight: w, eps, layout, out };
    });
  }

  scaleRows(x: Tensor, squareSums: Tensor, count: number, eps: number): GpuTensor {
    const input = this.#floats(x, 'x', [null, null]);
    const sums = this.#floats(squareSums, 'squareSums', [x.shape[0], 1]);
    return this.#make(x.shape, (out) => ({ type: 'scaleRows', x: input, squareSums: sums, count, eps, out }));
  }

  #elementwise(type: ElementwiseOperation['type'], x: Tensor, y: Tensor): GpuTensor {
    const a = this.#floats(x, 'x', [null, null]);
    const b = this.#floats(y, type === 'siluGate' ? 'z' : 'y', x.shape);
    return this.#make(x.shape, (out) => ({ type, x: a, y: b, out }));
  }

  /** A new tensor, and the operation that fills it. */
  #make(shape: readonly number[], operation: (out: GpuTensor) => Operation): GpuTensor {
    const out = this.#arrays.make(shape);
    if (elementCount(shape) > 0) this.#work.enqueue(operation(out));
    return out;
  }

  #floats(x: Tensor, name: string, expected: readonly (number | null)[]): GpuTensor {
    return gpuFloats(this.#owner, x, name, expected);
  }
}

import type { Tensor } from '../../../tensor/tensor.ts';
import { HostTensor, ints } from '../../contract/host-tensor.ts';
import type { CpuMemory } from './cpu-memory.ts';

/** int32 values that both the host and the kernels read: slots, row starts, token ids. */
export class CpuIndices extends HostTensor<Int32Array> {
  readonly memory: CpuMemory;
  /** Address of the first value, in bytes. */
  readonly address: number;

  constructor(memory: CpuMemory, data: Int32Array, shape: readonly number[]) {
    super(data.slice(), shape);
    this.memory = memory;
    this.address = memory.allocate(4 * data.length);
    this.write(data);
  }

  /** Replaces the values. */
  write(values: Int32Array): void {
    this.data.set(values);
    new Int32Array(this.memory.memory.buffer, this.address, values.length).set(values);
  }
}

/** Address of a vector of int32 values, checked to have this length. */
export function indexAddress(memory: CpuMemory, x: Tensor, name: string, length: number | null): number {
  const values = ints(x, name, length);
  return x instanceof CpuIndices && x.memory === memory ? x.address : new CpuIndices(memory, values, x.shape).address;
}

/** Address of the rows' slots: of the given tensor, or of new memory for the default slots. */
export function slotAddress(memory: CpuMemory, given: Tensor | undefined, slots: Int32Array): number {
  if (given) return indexAddress(memory, given, 'slots', slots.length);
  return new CpuIndices(memory, slots, [slots.length]).address;
}

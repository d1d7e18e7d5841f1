import { DisposedError } from '../../../errors.ts';
import type { ShortStateDType } from '../../../tensor/state-dtype.ts';
import { elementCount, type Tensor } from '../../../tensor/tensor.ts';
import { hostSlotValues, type SavedSlot } from '../../contract/slots.ts';
import type { CpuMemory } from './cpu-memory.ts';
import type { CpuRuntime } from './cpu-runtime.ts';
import { roundUp } from './cpu-tensor.ts';

/** SSM states of 16 bits (slots, ..., N). Slots begin at multiples of 16 bytes; kernels/scan-short.ts says how rows lie. */
export class CpuState implements Tensor {
  readonly dtype: ShortStateDType;
  readonly shape: readonly number[];
  /** Address of the first slot. */
  readonly address: number;
  /** Bytes from slot to slot. */
  readonly slotBytes: number;
  readonly #runtime: CpuRuntime;

  /** Zeros. */
  constructor(runtime: CpuRuntime, shape: readonly number[], dtype: ShortStateDType) {
    this.#runtime = runtime;
    this.shape = shape;
    this.dtype = dtype;
    this.slotBytes = roundUp(2 * this.slotLength, 16);
    this.address = runtime.memory.allocateZeros(shape[0] * this.slotBytes);
  }

  get slotLength(): number {
    return elementCount(this.shape.slice(1));
  }

  copySlot(from: number, to: number): void {
    this.#slot(to).set(this.#slot(from));
  }

  save(slot: number, reuse: SavedSlot | undefined): SavedSlot {
    return new SavedState(this, this.#slot(slot), reuse);
  }

  /** Takes the bits of a state like this one, or rounds float32 values. @throws ArgumentError, ShapeError, DisposedError */
  load(slot: number, saved: SavedSlot): void {
    if (saved instanceof SavedState && saved.fits(this)) this.#slot(slot).set(saved.bytes);
    else this.write(slot, hostSlotValues(saved, this.slotLength));
  }

  /** A slot's values. */
  read(slot: number): Float32Array<ArrayBuffer> {
    return this.#widen(() => this.#addressOf(slot));
  }

  /** The values of all slots. */
  readAll(): Float32Array<ArrayBuffer> {
    const all = new Float32Array(elementCount(this.shape));
    for (let slot = 0; slot < this.shape[0]; slot++) all.set(this.read(slot), slot * this.slotLength);
    return all;
  }

  /** Rounds a slot's values to the nearest. */
  write(slot: number, values: Float32Array): void {
    this.#withFloats(({ kernels, memory }, floats) => {
      memory.floats.set(values, floats / 4);
      kernels.narrowStates(floats, this.#addressOf(slot), this.#rows, this.#columns, this.#isBfloat16);
    });
  }

  /** Values of a slot's bytes in JavaScript memory. */
  widen(bytes: Uint8Array): Float32Array<ArrayBuffer> {
    return this.#widen((memory) => {
      const address = memory.allocate(bytes.length);
      memory.bytes.set(bytes, address);
      return address;
    });
  }

  #widen(place: (memory: CpuMemory) => number): Float32Array<ArrayBuffer> {
    return this.#withFloats(({ kernels, memory }, floats) => {
      kernels.widenStates(place(memory), floats, this.#rows, this.#columns, this.#isBfloat16);
      return memory.floats.slice(floats / 4, floats / 4 + this.slotLength) as Float32Array<ArrayBuffer>;
    });
  }

  /** Runs with the address of memory for a slot in float32. */
  #withFloats<T>(run: (runtime: CpuRuntime, floats: number) => T): T {
    const { memory } = this.#runtime;
    return memory.scope(() => run(this.#runtime, memory.allocate(4 * this.slotLength)));
  }

  #addressOf(slot: number): number {
    return this.address + slot * this.slotBytes;
  }

  #slot(slot: number): Uint8Array {
    const begin = this.#addressOf(slot);
    return this.#runtime.memory.bytes.subarray(begin, begin + this.slotBytes);
  }

  get #columns(): number {
    return this.shape[this.shape.length - 1];
  }

  get #rows(): number {
    return this.slotLength / this.#columns;
  }

  get #isBfloat16(): number {
    return this.dtype === 'bfloat16' ? 1 : 0;
  }
}

/** A slot of a {@link CpuState} as it is, in JavaScript memory. */
class SavedState implements SavedSlot {
  readonly byteLength: number;
  readonly #state: CpuState;
  #bytes: Uint8Array<ArrayBuffer> | undefined;

  /** Copies the bytes, into memory of `reuse` where it fits: fresh pages cost far more than the copy. */
  constructor(state: CpuState, bytes: Uint8Array, reuse: SavedSlot | undefined) {
    this.#state = state;
    this.byteLength = bytes.length;
    if (reuse instanceof SavedState && reuse.byteLength === bytes.length) {
      this.#bytes = reuse.bytes;
      this.#bytes.set(bytes);
      reuse.dispose();
    } else {
      this.#bytes = new Uint8Array(bytes);
    }
  }

  /** @throws DisposedError */
  get bytes(): Uint8Array<ArrayBuffer> {
    if (this.#bytes) return this.#bytes;
    throw new DisposedError('A saved slot was disposed of.', 'Save the slot again.');
  }

  fits({ dtype, shape }: CpuState): boolean {
    const own = this.#state;
    const isLikeRows = own.slotLength === elementCount(shape.slice(1)) && own.shape.at(-1) === shape.at(-1);
    return own.dtype === dtype && isLikeRows;
  }

  async read(): Promise<Float32Array<ArrayBuffer>> {
    return this.#state.widen(this.bytes);
  }

  dispose(): void {
    this.#bytes = undefined;
  }
}

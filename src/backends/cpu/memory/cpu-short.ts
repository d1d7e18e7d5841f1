import { DisposedError } from '../../../errors.ts';
import { numbersPerWord, type ShortKvCacheDType } from '../../../tensor/kv-cache-dtype.ts';
import type { ShortStateDType } from '../../../tensor/state-dtype.ts';
import { elementCount, type Tensor } from '../../../tensor/tensor.ts';
import { hostSlotValues, type SavedSlot } from '../../contract/slots.ts';
import type { CpuMemory } from './cpu-memory.ts';
import type { CpuRuntime } from './cpu-runtime.ts';
import { roundUp } from './cpu-tensor.ts';

/** Numbers of formats in kernels/kv-values.ts. */
export const KV_FORMATS = { float32: 0, float16: 1, bfloat16: 2, fp8_e4m3: 3, fp8_e5m2: 4 } as const;

/** Numbers of 16 or 8 bits (slots, ..., N). Slots begin at multiples of 16 bytes; kernels/kv-values.ts says how rows lie. */
class CpuShort<D extends ShortKvCacheDType> implements Tensor {
  readonly dtype: D;
  readonly shape: readonly number[];
  /** Address of the first slot. */
  readonly address: number;
  /** Bytes from slot to slot. */
  readonly slotBytes: number;
  readonly #runtime: CpuRuntime;

  /** @param areZeros whether they are zeros, or whatever the memory held. */
  constructor(runtime: CpuRuntime, shape: readonly number[], dtype: D, areZeros: boolean) {
    this.#runtime = runtime;
    this.shape = shape;
    this.dtype = dtype;
    this.slotBytes = roundUp((4 / numbersPerWord(dtype)) * this.slotLength, 16);
    const bytes = shape[0] * this.slotBytes;
    this.address = areZeros ? runtime.memory.allocateZeros(bytes) : runtime.memory.allocate(bytes);
  }

  get slotLength(): number {
    return elementCount(this.shape.slice(1));
  }

  copySlot(from: number, to: number): void {
    this.#slot(to).set(this.#slot(from));
  }

  save(slot: number, reuse: SavedSlot | undefined): SavedSlot {
    return new SavedShort(this, this.#slot(slot), reuse);
  }

  /** Takes the bits of a slot like this one's, or rounds float32 values. @throws ArgumentError, ShapeError, DisposedError */
  load(slot: number, saved: SavedSlot): void {
    if (saved instanceof SavedShort && saved.fits(this)) this.#slot(slot).set(saved.bytes);
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
      kernels.narrowKvRows(floats, this.#addressOf(slot), this.#rows, this.#columns, KV_FORMATS[this.dtype]);
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
      kernels.widenKvRows(place(memory), floats, this.#rows, this.#columns, KV_FORMATS[this.dtype]);
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
}

/** SSM states of 16 bits (slots, ..., N). */
export class CpuState extends CpuShort<ShortStateDType> {
  /** Zeros. */
  constructor(runtime: CpuRuntime, shape: readonly number[], dtype: ShortStateDType) {
    super(runtime, shape, dtype, true);
  }
}

/** Keys or values of 16 or 8 bits (blocks, blockSize, H, D). */
export class CpuKvCache extends CpuShort<ShortKvCacheDType> {
  /** Values that are not set yet. */
  constructor(runtime: CpuRuntime, shape: readonly number[], dtype: ShortKvCacheDType) {
    super(runtime, shape, dtype, false);
  }
}

/** A slot of a {@link CpuShort} as it is, in JavaScript memory. */
class SavedShort implements SavedSlot {
  readonly byteLength: number;
  readonly #of: CpuShort<ShortKvCacheDType>;
  #bytes: Uint8Array<ArrayBuffer> | undefined;

  /** Copies the bytes, into memory of `reuse` where it fits: fresh pages cost far more than the copy. */
  constructor(of: CpuShort<ShortKvCacheDType>, bytes: Uint8Array, reuse: SavedSlot | undefined) {
    this.#of = of;
    this.byteLength = bytes.length;
    if (reuse instanceof SavedShort && reuse.byteLength === bytes.length) {
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

  fits({ dtype, shape }: CpuShort<ShortKvCacheDType>): boolean {
    const own = this.#of;
    const isLikeRows = own.slotLength === elementCount(shape.slice(1)) && own.shape.at(-1) === shape.at(-1);
    return own.dtype === dtype && isLikeRows;
  }

  async read(): Promise<Float32Array<ArrayBuffer>> {
    return this.#of.widen(this.bytes);
  }

  dispose(): void {
    this.#bytes = undefined;
  }
}

import { DisposedError } from '../../../errors.ts';
import { checkSlot, hostSlotValues, type SavedSlot } from '../../contract/slots.ts';
import type { CudaCalls } from './cuda-calls.ts';
import { CudaTensor } from './cuda-tensor.ts';

/** A saved slot in the device's memory. */
class CudaSavedSlot implements SavedSlot {
  readonly byteLength: number;
  readonly #calls: CudaCalls;
  #address: number | undefined;

  constructor(calls: CudaCalls, address: number, byteLength: number) {
    this.byteLength = byteLength;
    this.#calls = calls;
    this.#address = address;
  }

  /** @throws DisposedError */
  get address(): number {
    if (this.#address !== undefined) return this.#address;
    throw new DisposedError('A saved slot was disposed of.', 'Save the slot again.');
  }

  isOf({ owner }: CudaCalls): boolean {
    return this.#calls.owner === owner;
  }

  async read(): Promise<Float32Array<ArrayBuffer>> {
    return this.#calls.read(new CudaTensor(this.#calls.owner, this.address, [this.byteLength / 4], 1));
  }

  /** The memory, for another slot. */
  take(): number {
    const { address } = this;
    this.#address = undefined;
    return address;
  }

  dispose(): void {
    if (this.#address !== undefined) this.#calls.memory.giveBack(this.take(), this.byteLength);
  }
}

export function copySlot(calls: CudaCalls, state: CudaTensor, from: number, to: number): void {
  checkSlot(state, from);
  checkSlot(state, to);
  if (from !== to) calls.copy(addressOf(state, to), addressOf(state, from), 4 * state.rowSize);
}

export function saveSlot(calls: CudaCalls, state: CudaTensor, slot: number, reuse?: SavedSlot): SavedSlot {
  checkSlot(state, slot);
  const bytes = 4 * state.rowSize;
  const fits = reuse instanceof CudaSavedSlot && reuse.isOf(calls) && reuse.byteLength === bytes;
  const address = fits ? reuse.take() : calls.memory.borrow(bytes);
  calls.copy(address, addressOf(state, slot), bytes);
  return new CudaSavedSlot(calls, address, bytes);
}

export function loadSlot(calls: CudaCalls, state: CudaTensor, slot: number, saved: SavedSlot): void {
  checkSlot(state, slot);
  const bytes = 4 * state.rowSize;
  if (saved instanceof CudaSavedSlot && saved.isOf(calls) && saved.byteLength === bytes) {
    calls.copy(addressOf(state, slot), saved.address, bytes);
  } else {
    calls.upload(addressOf(state, slot), hostSlotValues(saved, state.rowSize));
  }
}

function addressOf({ address, stride }: CudaTensor, slot: number): number {
  return address + 4 * slot * stride;
}

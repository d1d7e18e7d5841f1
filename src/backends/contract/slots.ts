import { ArgumentError, DisposedError, ShapeError } from '../../errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';

/**
 * A copy of one slot of a tensor, kept outside of the tensor. The caller owns it and disposes of it. A backend may
 * keep it in memory of its own; every backend also takes a `HostSavedSlot`.
 */
export interface SavedSlot {
  readonly byteLength: number;
  /** The slot's values, row-major, for the host to keep. */
  read(): Promise<Float32Array<ArrayBuffer>>;
  dispose(): void;
}

/**
 * Copies of a tensor's slots: its entries along the first dimension. A slot of a mixer's state (slots, ...) is a
 * sequence's place in it; a slot of a key or value cache (blocks, ...) is a block.
 */
export interface SlotOps {
  /** Copies slot `from` of a tensor (slots, ...) over slot `to`. */
  copySlot(state: Tensor, from: number, to: number): void;

  /**
   * Copies a slot of a tensor (slots, ...) as it is once everything that was enqueued before has run.
   * @param reuse a saved slot of the same size that is no longer needed: its memory may be taken.
   */
  saveSlot(state: Tensor, slot: number, reuse?: SavedSlot): SavedSlot;

  /** Writes a saved slot, of this tensor or of another whose slots have the same size, over slot `slot`. */
  loadSlot(state: Tensor, slot: number, saved: SavedSlot): void;
}

/** A saved slot in JavaScript memory. */
export class HostSavedSlot implements SavedSlot {
  readonly byteLength: number;
  #values: Float32Array<ArrayBuffer> | undefined;

  /** Takes the array over. */
  constructor(values: Float32Array<ArrayBuffer>) {
    this.byteLength = values.byteLength;
    this.#values = values;
  }

  /** @throws DisposedError */
  get values(): Float32Array<ArrayBuffer> {
    if (this.#values) return this.#values;
    throw new DisposedError('A saved slot was disposed of.', 'Save the slot again.');
  }

  async read(): Promise<Float32Array<ArrayBuffer>> {
    return this.values.slice();
  }

  dispose(): void {
    this.#values = undefined;
  }
}

/** Saves values on the host, in memory of `reuse` where it fits: fresh pages cost far more than the copy. */
export function saveOnHost(values: Float32Array, reuse: SavedSlot | undefined): HostSavedSlot {
  if (!(reuse instanceof HostSavedSlot) || reuse.byteLength !== values.byteLength) {
    return new HostSavedSlot(new Float32Array(values));
  }
  const memory = reuse.values;
  reuse.dispose();
  memory.set(values);
  return new HostSavedSlot(memory);
}

/** Values of a slot that was saved on the host. @throws ArgumentError, ShapeError, DisposedError */
export function hostSlotValues(saved: SavedSlot, length: number): Float32Array {
  if (!(saved instanceof HostSavedSlot)) {
    throw new ArgumentError(
      'The saved slot belongs to another backend.',
      'Read its values there, and load them here as a HostSavedSlot.',
    );
  }
  if (saved.values.length === length) return saved.values;
  throw new ShapeError(
    `A saved slot of ${saved.values.length} values does not fit a state whose slots have ${length}.`,
  );
}

/** @throws ArgumentError unless the state has such a slot. */
export function checkSlot(state: Tensor, slot: number): void {
  if (Number.isInteger(slot) && slot >= 0 && slot < state.shape[0]) return;
  throw new ArgumentError(`Slot ${slot} of a state of ${state.shape[0]} slots.`);
}

import { ArgumentError, DisposedError, ShapeError } from '../../errors.ts';
import { bfloat16ToFloat32, float16Bits, float16ToFloat32 } from '../../tensor/float16.ts';
import { roundState, type ShortStateDType } from '../../tensor/state-dtype.ts';
import { elementCount, type Tensor } from '../../tensor/tensor.ts';

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

/** How a slot of 16-bit states lies in words: rows of pairs, the first of a pair in the lower half. */
export interface ShortForm {
  readonly dtype: ShortStateDType;
  /** (slots, ..., N) */
  readonly shape: readonly number[];
}

/** States of 16 bits (slots, ..., N), two in each word of a backend's tensor. */
export class WordState<Words extends Tensor> implements Tensor, ShortForm {
  readonly dtype: ShortStateDType;
  readonly shape: readonly number[];
  readonly words: Words;

  constructor(words: Words, shape: readonly number[], dtype: ShortStateDType) {
    this.words = words;
    this.shape = shape;
    this.dtype = dtype;
  }

  /** @param save saves a slot of the words, in memory of an older one where it fits. */
  saveSlot(save: (words: Words, reuse: SavedSlot | undefined) => SavedSlot, reuse: SavedSlot | undefined): SavedSlot {
    return new ShortSavedSlot(save(this.words, reuse instanceof ShortSavedSlot ? reuse.words : undefined), this);
  }
}

/** A tensor's shape in words. */
export function wordShape(shape: readonly number[]): number[] {
  return [...shape.slice(0, -1), Math.ceil(columnsOf(shape) / 2)];
}

/** A saved slot of words, as states. */
export class ShortSavedSlot implements SavedSlot {
  readonly words: SavedSlot;
  readonly #form: ShortForm;

  /** Takes the words over. */
  constructor(words: SavedSlot, form: ShortForm) {
    this.words = words;
    this.#form = form;
  }

  get byteLength(): number {
    return this.words.byteLength;
  }

  /** Whether its words mean the same in states of this form. */
  fits({ dtype, shape }: ShortForm): boolean {
    const own = this.#form;
    return own.dtype === dtype && `${own.shape.slice(1)}` === `${shape.slice(1)}`;
  }

  async read(): Promise<Float32Array<ArrayBuffer>> {
    return valuesOfWords(await this.words.read(), this.#form);
  }

  dispose(): void {
    this.words.dispose();
  }
}

/** A saved slot as words of states of this form: its own, or float32 values rounded to the nearest. */
export function savedWords(saved: SavedSlot, form: ShortForm): SavedSlot {
  if (saved instanceof ShortSavedSlot && saved.fits(form)) return saved.words;
  return new HostSavedSlot(wordsOfValues(hostSlotValues(saved, elementCount(form.shape.slice(1))), form));
}

/** Values of words, whose bits lie in float32. */
export function valuesOfWords(words: Float32Array, { dtype, shape }: ShortForm): Float32Array<ArrayBuffer> {
  const N = columnsOf(shape);
  const halves = new Uint16Array(words.buffer, words.byteOffset, 2 * words.length);
  const values = new Float32Array(halves.length);
  if (dtype === 'bfloat16') bfloat16ToFloat32(halves, values);
  else float16ToFloat32(halves, values);
  if (N % 2 === 0) return values;
  const rows = values.length / (N + 1);
  const dense = new Float32Array(rows * N);
  for (let r = 0; r < rows; r++) dense.set(values.subarray(r * (N + 1), r * (N + 1) + N), r * N);
  return dense;
}

function wordsOfValues(values: Float32Array, { dtype, shape }: ShortForm): Float32Array<ArrayBuffer> {
  const N = columnsOf(shape);
  const rows = values.length / N;
  const stride = 2 * Math.ceil(N / 2);
  const halves = new Uint16Array(rows * stride);
  const scratch = new Float32Array(1);
  const bits = new Uint32Array(scratch.buffer);
  for (let i = 0; i < values.length; i++) {
    const value = roundState(values[i], dtype);
    scratch[0] = value;
    halves[Math.floor(i / N) * stride + (i % N)] = dtype === 'bfloat16' ? bits[0] >>> 16 : float16Bits(value);
  }
  return new Float32Array(halves.buffer);
}

function columnsOf(shape: readonly number[]): number {
  return shape[shape.length - 1];
}

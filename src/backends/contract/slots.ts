import { ArgumentError, DisposedError, ShapeError } from '../../errors.ts';
import { numbersPerWord, type ShortKvCacheDType, shortCode, shortValues } from '../../tensor/kv-cache-dtype.ts';
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

/** How a slot of numbers of 16 or 8 bits lies in words: rows of whole words, the first number of a word in its lowest bits. */
export interface ShortForm<D extends ShortKvCacheDType = ShortKvCacheDType> {
  readonly dtype: D;
  /** (slots, ..., N) */
  readonly shape: readonly number[];
}

/** Numbers of 16 or 8 bits (slots, ..., N), several in each word of a backend's tensor. */
export class WordState<Words extends Tensor, D extends ShortKvCacheDType> implements Tensor, ShortForm<D> {
  readonly dtype: D;
  readonly shape: readonly number[];
  readonly words: Words;

  constructor(words: Words, shape: readonly number[], dtype: D) {
    this.words = words;
    this.shape = shape;
    this.dtype = dtype;
  }

  /** @param save saves a slot of the words, in memory of an older one where it fits. */
  saveSlot(save: (words: Words, reuse: SavedSlot | undefined) => SavedSlot, reuse: SavedSlot | undefined): SavedSlot {
    return new ShortSavedSlot(save(this.words, reuse instanceof ShortSavedSlot ? reuse.words : undefined), this);
  }
}

/** Shape in words of a tensor of numbers of a dtype. */
export function wordShape(shape: readonly number[], dtype: ShortKvCacheDType): number[] {
  return [...shape.slice(0, -1), Math.ceil(columnsOf(shape) / numbersPerWord(dtype))];
}

/** A saved slot of words, as the numbers in them. */
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

  /** Whether its words mean the same in slots of this form. */
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

/** A saved slot as words of this form: its own, or float32 values rounded to the nearest. */
export function savedWords(saved: SavedSlot, form: ShortForm): SavedSlot {
  if (saved instanceof ShortSavedSlot && saved.fits(form)) return saved.words;
  return new HostSavedSlot(wordsOfValues(hostSlotValues(saved, elementCount(form.shape.slice(1))), form));
}

/** Values of words, whose bits lie in float32. */
export function valuesOfWords(
  words: Float32Array<ArrayBuffer>,
  { dtype, shape }: ShortForm,
): Float32Array<ArrayBuffer> {
  const N = columnsOf(shape);
  const values = shortValues(new Uint8Array(words.buffer, words.byteOffset, words.byteLength), dtype);
  const stride = paddedTo(N, dtype);
  if (N === stride) return values;
  const rows = values.length / stride;
  const dense = new Float32Array(rows * N);
  for (let r = 0; r < rows; r++) dense.set(values.subarray(r * stride, r * stride + N), r * N);
  return dense;
}

function wordsOfValues(values: Float32Array, { dtype, shape }: ShortForm): Float32Array<ArrayBuffer> {
  const N = columnsOf(shape);
  const stride = paddedTo(N, dtype);
  const count = (values.length / N) * stride;
  const codes = numbersPerWord(dtype) === 4 ? new Uint8Array(count) : new Uint16Array(count);
  for (let i = 0; i < values.length; i++) codes[Math.floor(i / N) * stride + (i % N)] = shortCode(values[i], dtype);
  return new Float32Array(codes.buffer);
}

/** Numbers of a row of whole words. */
function paddedTo(N: number, dtype: ShortKvCacheDType): number {
  const perWord = numbersPerWord(dtype);
  return Math.ceil(N / perWord) * perWord;
}

function columnsOf(shape: readonly number[]): number {
  return shape[shape.length - 1];
}

/** Numbers that are the same in every run and thread. */
export class SeededRandom {
  #state: number;

  constructor(seed: number) {
    this.#state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) >>> 0;
  }

  /** In [0, 1), by mulberry32. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  integer(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  floats(length: number, low = -1, high = 1): Float32Array {
    return Float32Array.from({ length }, () => low + (high - low) * this.next());
  }
}

/** The bit patterns, so that -0, 0 and different NaNs differ and equal NaNs are equal. */
export function bits(values: Float32Array): Uint32Array {
  return new Uint32Array(values.slice().buffer);
}

/** Index of the first value whose bits differ, -1 where none do. Long arrays compare and fail faster so than in a diff. */
export function firstDifference(a: Float32Array, b: Float32Array): number {
  const [left, right] = [bits(a), bits(b)];
  if (left.length !== right.length) return Math.min(left.length, right.length);
  return left.findIndex((word, i) => word !== right[i]);
}

/** Largest |a - b|, relative to the largest |b| where that exceeds 1. NaN when anything is. */
export function largestError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.NaN;
  let error = 0;
  let scale = 1;
  for (let i = 0; i < a.length; i++) {
    error = Math.max(error, Math.abs(a[i] - b[i]));
    scale = Math.max(scale, Math.abs(b[i]));
  }
  return error / scale;
}

export function concatenated(parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let begin = 0;
  for (const part of parts) {
    whole.set(part, begin);
    begin += part.length;
  }
  return whole;
}

/** Columns [begin, end) of a row-major (rows, columns) array. */
export function columns(whole: Float32Array, count: number, begin: number, end: number): Float32Array {
  const rows = whole.length / count;
  return concatenated(Array.from({ length: rows }, (_, r) => whole.subarray(r * count + begin, r * count + end)));
}

/** Row-major (rows, c) arrays side by side. */
export function sideBySide(parts: readonly Float32Array[], rows: number): Float32Array {
  return concatenated(
    Array.from({ length: rows }, (_, r) =>
      parts.map((part) => part.subarray((r * part.length) / rows, ((r + 1) * part.length) / rows)),
    ).flat(),
  );
}

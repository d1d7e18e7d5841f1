/** A rank's part of an exported state: values, and where they begin in the whole. */
export interface StatePart {
  readonly offset: number;
  readonly values: Float32Array<ArrayBuffer>;
  /** Distance between the starts of two rows, in numbers. Default: the values are one run. */
  readonly rows?: { readonly length: number; readonly stride: number } | undefined;
}

/** The whole state that the ranks' parts make. */
export function joinStateParts(parts: Iterable<StatePart>, length: number): Float32Array<ArrayBuffer> {
  const whole = new Float32Array(length);
  for (const { offset, values, rows } of parts) {
    const { length: rowLength, stride } = rows ?? { length: values.length, stride: values.length };
    for (let row = 0; row * rowLength < values.length; row++) {
      whole.set(values.subarray(row * rowLength, (row + 1) * rowLength), offset + row * stride);
    }
  }
  return whole;
}

/** Types of metadata by their number in the file. */
export const TYPES = {
  uint8: 0,
  int8: 1,
  uint16: 2,
  int16: 3,
  uint32: 4,
  int32: 5,
  float32: 6,
  bool: 7,
  string: 8,
  array: 9,
  uint64: 10,
  int64: 11,
  float64: 12,
} as const;

/** Numbers of a few types of tensors. */
export const TENSOR_TYPES = { F32: 0, F16: 1, Q4_0: 2, Q8_0: 8, I32: 26, NVFP4: 40 } as const;

/** Bytes that are appended one after another, little-endian. */
export class Bytes {
  readonly #parts: Uint8Array[] = [];
  length = 0;

  raw(bytes: Uint8Array): this {
    this.#parts.push(bytes);
    this.length += bytes.length;
    return this;
  }

  u8(value: number): this {
    return this.raw(Uint8Array.of(value));
  }

  u32(value: number): this {
    return this.#number(4, (view) => view.setUint32(0, value, true));
  }

  u64(value: number | bigint): this {
    return this.#number(8, (view) => view.setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true));
  }

  f32(value: number): this {
    return this.#number(4, (view) => view.setFloat32(0, value, true));
  }

  string(text: string | Uint8Array): this {
    const bytes = typeof text === 'string' ? new TextEncoder().encode(text) : text;
    return this.u64(bytes.length).raw(bytes);
  }

  pad(alignment: number): this {
    return this.raw(new Uint8Array((alignment - (this.length % alignment)) % alignment));
  }

  get bytes(): Uint8Array<ArrayBuffer> {
    const whole = new Uint8Array(this.length);
    let at = 0;
    for (const part of this.#parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }

  #number(size: number, write: (view: DataView) => void): this {
    const bytes = new Uint8Array(size);
    write(new DataView(bytes.buffer));
    return this.raw(bytes);
  }
}

/** A value of the metadata with its type in front. */
export const value = {
  u32: (number: number) => new Bytes().u32(TYPES.uint32).u32(number),
  u64: (number: number | bigint) => new Bytes().u32(TYPES.uint64).u64(number),
  f32: (number: number) => new Bytes().u32(TYPES.float32).f32(number),
  bool: (flag: boolean) => new Bytes().u32(TYPES.bool).u8(flag ? 1 : 0),
  string: (text: string | Uint8Array) => new Bytes().u32(TYPES.string).string(text),
  strings: (texts: readonly string[]) =>
    texts.reduce((bytes, text) => bytes.string(text), new Bytes().u32(TYPES.array).u32(TYPES.string).u64(texts.length)),
  u32s: (numbers: readonly number[]) =>
    numbers.reduce((bytes, n) => bytes.u32(n), new Bytes().u32(TYPES.array).u32(TYPES.uint32).u64(numbers.length)),
};

/** A tensor to write. */
export interface TensorToWrite {
  readonly name: string;
  /** A number of a type. */
  readonly type?: number;
  /** Row-major. */
  readonly shape: readonly number[];
  readonly data: Uint8Array;
  /** Instead of the next place that is free. */
  readonly offset?: number | bigint;
}

/** Parts of a file that may be other than they should. */
export interface GgufToWrite {
  readonly metadata?: Readonly<Record<string, Bytes>>;
  readonly tensors?: readonly TensorToWrite[];
  readonly magic?: number;
  readonly version?: number;
  readonly tensorCount?: number | bigint;
  readonly entryCount?: number | bigint;
  readonly alignment?: number;
}

/** A GGUF file, as well-formed as its parts are. */
export function writeGguf(gguf: GgufToWrite): Uint8Array<ArrayBuffer> {
  const { metadata = {}, tensors = [], magic = 0x46554747, version = 3, alignment = 32 } = gguf;
  const { tensorCount = tensors.length, entryCount = Object.keys(metadata).length } = gguf;
  const bytes = new Bytes().u32(magic).u32(version).u64(tensorCount).u64(entryCount);
  for (const [key, entry] of Object.entries(metadata)) bytes.string(key).raw(entry.bytes);
  const data = new Bytes();
  for (const tensor of tensors) {
    bytes.string(tensor.name).u32(tensor.shape.length);
    for (const size of tensor.shape.toReversed()) bytes.u64(size);
    bytes.u32(tensor.type ?? TENSOR_TYPES.F32).u64(tensor.offset ?? data.length);
    data.raw(tensor.data).pad(alignment);
  }
  return bytes.pad(alignment).raw(data.bytes).bytes;
}

/** Numbers as F32 data. */
export function floats(...numbers: number[]): Uint8Array {
  return new Uint8Array(Float32Array.from(numbers).buffer);
}

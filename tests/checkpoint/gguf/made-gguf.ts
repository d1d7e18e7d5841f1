import type { RowRange } from '../../../src/checkpoint/files/row-range.ts';
import type { StoredTensor } from '../../../src/checkpoint/files/stored-tensor.ts';
import type { Gguf } from '../../../src/checkpoint/gguf/gguf.ts';
import { GgufMetadata, type GgufValue } from '../../../src/checkpoint/gguf/gguf-metadata.ts';
import { joinBytes } from '../../../src/util/join-bytes.ts';

/** Whole numbers become integers, other numbers floats, as writers do. */
type Plain = number | boolean | string | readonly number[] | readonly string[];

/** Metadata of a file that does not exist. */
export function madeMetadata(values: Readonly<Record<string, Plain>>): GgufMetadata {
  return new GgufMetadata(new Map(Object.entries(values).map(([key, value]) => [key, packed(value)])), 'made.gguf');
}

function packed(value: Plain): GgufValue {
  if (typeof value === 'string') return { type: 'string', value };
  if (typeof value === 'boolean') return { type: 'bool', value };
  if (typeof value === 'number') return { type: Number.isInteger(value) ? 'uint32' : 'float64', value };
  const list: readonly (number | string)[] = value;
  const count = list.length;
  if (typeof list[0] !== 'string') {
    const bytes = new Uint8Array(Float64Array.from(list, Number).buffer);
    const begins = new Uint32Array();
    const areWhole = list.every(Number.isInteger);
    if (!areWhole) return { type: 'array', value: { elements: 'float64', count, bytes, begins } };
    return { type: 'array', value: { elements: 'int64', count, bytes: new Uint8Array(bigints(list).buffer), begins } };
  }
  const texts = list.map((text) => new TextEncoder().encode(String(text)));
  const parts = texts.flatMap((text) => [new Uint8Array(BigUint64Array.of(BigInt(text.length)).buffer), text]);
  let offset = 0;
  const begins = Uint32Array.from(texts, ({ length }) => {
    const begin = offset + 8;
    offset = begin + length;
    return begin;
  });
  return { type: 'array', value: { elements: 'string', count, bytes: joinBytes(parts), begins } };
}

function bigints(list: readonly (number | string)[]): BigInt64Array {
  return BigInt64Array.from(list, (value) => BigInt(value));
}

/** A tensor in memory, which keeps the ranges that are read. */
export class MadeTensor implements StoredTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly file = 'made.gguf';
  readonly isSequential = false;
  readonly problem = undefined;
  readonly reads: RowRange[] = [];
  readonly values: Float32Array;

  /** @param first value; the others count on from there. */
  constructor(shape: readonly number[], first = 0, dtype = 'F32') {
    this.shape = shape;
    this.dtype = dtype;
    const count = shape.reduce((product, size) => product * size, 1);
    this.values = Float32Array.from({ length: count }, (_, i) => first + i);
  }

  get byteLength(): number {
    return this.values.byteLength;
  }

  async readFloat32(range: RowRange = {}): Promise<Float32Array> {
    this.reads.push(range);
    const { firstRow = 0 } = range;
    const { rows = this.shape[0] - firstRow } = range;
    const size = this.values.length / this.shape[0];
    return this.values.slice(firstRow * size, (firstRow + rows) * size);
  }

  async readBytes(range: RowRange = {}): Promise<Uint8Array<ArrayBuffer>> {
    return new Uint8Array(Float32Array.from(await this.readFloat32(range)).buffer);
  }
}

/** A model whose tensors have the given shapes, and values that differ everywhere. */
export function madeGguf(
  metadata: Readonly<Record<string, Plain>>,
  shapes: Readonly<Record<string, readonly number[]>>,
): Gguf {
  let first = 0;
  const tensors = new Map(
    Object.entries(shapes).map(([name, shape]) => {
      const tensor = new MadeTensor(shape, first);
      first += tensor.values.length;
      return [name, tensor];
    }),
  );
  return { name: 'made.gguf', metadata: madeMetadata(metadata), tensors, versions: [] };
}

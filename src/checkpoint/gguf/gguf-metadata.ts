import { GgufError } from '../../errors.ts';

/** Types of metadata by their number in the file. */
export const VALUE_TYPES = [
  'uint8',
  'int8',
  'uint16',
  'int16',
  'uint32',
  'int32',
  'float32',
  'bool',
  'string',
  'array',
  'uint64',
  'int64',
  'float64',
] as const;

export type ValueType = (typeof VALUE_TYPES)[number];

/** Type of a value that takes the same number of bytes wherever it is. */
export type FixedType = Exclude<ValueType, 'string' | 'array'>;

/** Bytes of a value. */
export const FIXED_BYTES: Readonly<Record<FixedType, number>> = {
  uint8: 1,
  int8: 1,
  uint16: 2,
  int16: 2,
  uint32: 4,
  int32: 4,
  float32: 4,
  bool: 1,
  uint64: 8,
  int64: 8,
  float64: 8,
};

/** An integer that float64 does not hold exactly is a bigint. */
export type Scalar = number | bigint | boolean | string;

/** An array as it lies in the header: vocabularies are large, and most arrays are never asked for. */
export interface PackedArray {
  readonly elements: FixedType | 'string';
  readonly count: number;
  readonly bytes: Uint8Array;
  /** First byte of each string, counted from the first of `bytes`; its length is in the eight bytes before. */
  readonly begins: Uint32Array;
}

/** A value of the metadata. */
export type GgufValue =
  | { readonly type: FixedType | 'string'; readonly value: Scalar }
  | { readonly type: 'array'; readonly value: PackedArray };

/**
 * Typed reads of a GGUF file's metadata. Every problem is a GgufError that names the file, the key, what it holds and
 * what was expected. Arrays are decoded on each call.
 */
export class GgufMetadata {
  readonly fileName: string;
  readonly #values: ReadonlyMap<string, GgufValue>;

  constructor(values: ReadonlyMap<string, GgufValue>, fileName: string) {
    this.#values = values;
    this.fileName = fileName;
  }

  /** All keys, in the order of the file. */
  keys(): string[] {
    return [...this.#values.keys()];
  }

  /** Whether the key is there. */
  has(key: string): boolean {
    return this.#values.has(key);
  }

  /** Whether the key holds an array: some keys hold one value for all layers, or one for each. */
  isArray(key: string): boolean {
    return this.#values.get(key)?.type === 'array';
  }

  /** A string. */
  string(key: string): string {
    return this.optionalString(key) ?? this.#missing(key, 'a string');
  }

  /** A string, or undefined when the key is absent. */
  optionalString(key: string): string | undefined {
    return this.#scalar(key, (value) => typeof value === 'string', 'a string');
  }

  /** A whole number, whatever integer type it has in the file. */
  integer(key: string): number {
    return this.optionalInteger(key) ?? this.#missing(key, 'an integer');
  }

  /** A whole number, or undefined when the key is absent. */
  optionalInteger(key: string): number | undefined {
    const { type } = this.#values.get(key) ?? {};
    const isInteger = (value: Scalar): value is number => typeof value === 'number' && isIntegerType(type);
    return this.#scalar(key, isInteger, 'an integer below 2^53');
  }

  /** A number, whatever type of numbers it has in the file. */
  number(key: string): number {
    return this.optionalNumber(key) ?? this.#missing(key, 'a number');
  }

  /** A number, or undefined when the key is absent. */
  optionalNumber(key: string): number | undefined {
    return this.#scalar(key, (value) => typeof value === 'number', 'a number');
  }

  /** true or false. */
  boolean(key: string): boolean {
    return this.optionalBoolean(key) ?? this.#missing(key, 'true or false');
  }

  /** true, false, or undefined when the key is absent. */
  optionalBoolean(key: string): boolean | undefined {
    return this.#scalar(key, (value) => typeof value === 'boolean', 'true or false');
  }

  /** An array of strings. */
  strings(key: string): string[] {
    return this.optionalStrings(key) ?? this.#missing(key, 'an array of strings');
  }

  /** An array of strings, or undefined when the key is absent. */
  optionalStrings(key: string): string[] | undefined {
    const array = this.#array(key, (elements) => elements === 'string', 'an array of strings');
    return array && decodeStrings(array, `${this.fileName}: '${key}'`);
  }

  /** An array of strings, of which each is decoded when it is asked for. */
  packedStrings(key: string): PackedStrings {
    const array = this.#array(key, (elements) => elements === 'string', 'an array of strings');
    return new PackedStrings(array ?? this.#missing(key, 'an array of strings'), `${this.fileName}: '${key}'`);
  }

  /** An array of whole numbers. */
  integers(key: string): number[] {
    return this.optionalIntegers(key) ?? this.#missing(key, 'an array of integers');
  }

  /** An array of whole numbers, or undefined when the key is absent. */
  optionalIntegers(key: string): number[] | undefined {
    const array = this.#array(key, isIntegerType, 'an array of integers');
    return array && this.#numbersOf(key, array);
  }

  /** {@link optionalIntegers} for arrays as long as a vocabulary. */
  packedIntegers(key: string): ArrayLike<number> | undefined {
    const array = this.#array(key, isIntegerType, 'an array of integers');
    if (array?.elements !== 'int32') return array && this.#numbersOf(key, array);
    const { buffer, byteOffset, byteLength } = array.bytes;
    return new Int32Array(buffer.slice(byteOffset, byteOffset + byteLength));
  }

  /** An array of numbers. */
  numbers(key: string): number[] {
    return this.optionalNumbers(key) ?? this.#missing(key, 'an array of numbers');
  }

  /** An array of numbers, or undefined when the key is absent. */
  optionalNumbers(key: string): number[] | undefined {
    const areNumbers = (elements: ValueType) => elements !== 'string' && elements !== 'bool';
    const array = this.#array(key, areNumbers, 'an array of numbers');
    return array && this.#numbersOf(key, array);
  }

  /** An array of true and false. */
  booleans(key: string): boolean[] {
    return this.optionalBooleans(key) ?? this.#missing(key, 'an array of true and false');
  }

  /** An array of true and false, or undefined when the key is absent. */
  optionalBooleans(key: string): boolean[] | undefined {
    const array = this.#array(key, (elements) => elements === 'bool', 'an array of true and false');
    return array && Array.from(array.bytes, (byte) => byte !== 0);
  }

  #scalar<T extends Scalar>(key: string, accepts: (value: Scalar) => value is T, expected: string): T | undefined {
    const found = this.#values.get(key);
    if (found === undefined) return undefined;
    if (found.type !== 'array' && accepts(found.value)) return found.value;
    return this.#refuse(key, found, expected);
  }

  #array(key: string, accepts: (elements: FixedType | 'string') => boolean, expected: string): PackedArray | undefined {
    const found = this.#values.get(key);
    if (found === undefined) return undefined;
    if (found.type === 'array' && accepts(found.value.elements)) return found.value;
    // What a writer makes of an empty list is an array of anything.
    if (found.type === 'array' && found.value.count === 0) return found.value;
    return this.#refuse(key, found, expected);
  }

  #numbersOf(key: string, { elements, count, bytes }: PackedArray): number[] {
    if (elements === 'string' || count === 0) return [];
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const size = FIXED_BYTES[elements];
    return Array.from({ length: count }, (_, i) => {
      const value = readFixed(view, i * size, elements);
      if (typeof value === 'number') return value;
      throw new GgufError(`${this.fileName}: element ${i} of '${key}' is ${value}, expected a number below 2^53.`);
    });
  }

  #refuse(key: string, found: GgufValue, expected: string): never {
    throw new GgufError(
      `${this.fileName}: '${key}' is ${describeValue(found)}, expected ${expected}.`,
      'Compare with a file of the same model from another source, or convert the model again.',
    );
  }

  #missing(key: string, expected: string): never {
    throw new GgufError(
      `${this.fileName}: the metadata lack '${key}', expected ${expected}.`,
      'The file was written by an old or an incomplete converter; get a newer one.',
    );
  }
}

/** Strings of an array as they lie in the header. A vocabulary has some hundred thousand, of which a load asks for few. */
export class PackedStrings {
  readonly count: number;
  readonly #bytes: Uint8Array;
  readonly #begins: Uint32Array;
  readonly #where: string;

  /** @param where the array is, for errors. */
  constructor({ bytes, begins }: PackedArray, where: string) {
    this.count = begins.length;
    this.#bytes = bytes;
    this.#begins = begins;
    this.#where = where;
  }

  /** Whether a string has no characters. */
  isEmpty(index: number): boolean {
    return this.#end(index) === this.#begins[index];
  }

  /** A string; undefined beyond the end. @throws GgufError where it is not UTF-8 */
  at(index: number): string | undefined {
    if (!(index < this.count)) return undefined;
    const bytes = this.#bytes.subarray(this.#begins[index], this.#end(index));
    return decodeUtf8(bytes, () => `${this.#where}, element ${index},`);
  }

  #end(index: number): number {
    return index + 1 < this.count ? this.#begins[index + 1] - 8 : this.#bytes.length;
  }
}

/** A value at a place. An integer that is no exact float64 comes as a bigint. */
export function readFixed(view: DataView, offset: number, type: FixedType): number | bigint | boolean {
  switch (type) {
    case 'uint8':
      return view.getUint8(offset);
    case 'int8':
      return view.getInt8(offset);
    case 'uint16':
      return view.getUint16(offset, true);
    case 'int16':
      return view.getInt16(offset, true);
    case 'uint32':
      return view.getUint32(offset, true);
    case 'int32':
      return view.getInt32(offset, true);
    case 'float32':
      return view.getFloat32(offset, true);
    case 'float64':
      return view.getFloat64(offset, true);
    case 'bool':
      return view.getUint8(offset) !== 0;
    case 'uint64':
      return exactInteger(view.getBigUint64(offset, true));
    case 'int64':
      return exactInteger(view.getBigInt64(offset, true));
  }
}

/** A count or a length of 64 bits, rounded from 2^53 on. Arrays have hundreds of thousands, and bigints are slow. */
export function readLength(view: DataView, offset: number): number {
  return view.getUint32(offset + 4, true) * 2 ** 32 + view.getUint32(offset, true);
}

/** Bytes as UTF-8 text. @throws GgufError that begins with `where` */
export function decodeUtf8(bytes: Uint8Array, where: () => string): string {
  try {
    return UTF8.decode(bytes);
  } catch (cause) {
    throw new GgufError(`${where()} is not UTF-8.`, 'The file is damaged; download or convert it again.', { cause });
  }
}

/** A byte order mark is a character of a token like any other. */
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Strings of an array: their bytes are decoded at once, because a call of the decoder costs more than a short string. */
function decodeStrings({ elements, count, bytes }: PackedArray, where: string): string[] {
  if (elements !== 'string') return [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = new Uint8Array(bytes.length - 8 * count);
  /** End of each string in UTF-16 units. */
  const ends = new Uint32Array(count);
  let [offset, filled, units] = [0, 0, 0];
  let isCut = false;
  for (let i = 0; i < count; i++) {
    const begin = offset + 8;
    offset = begin + readLength(view, offset);
    isCut ||= begin < offset && isContinuation(bytes[begin]);
    for (let at = begin; at < offset; at++) {
      const byte = bytes[at];
      text[filled++] = byte;
      // A character takes one unit, and one beyond U+FFFF, which has four bytes, takes two.
      if (!isContinuation(byte)) units += byte >= 0xf0 ? 2 : 1;
    }
    ends[i] = units;
  }
  const decoded = isCut ? undefined : tryDecode(text);
  if (decoded === undefined) return decodeEach(bytes, count, where);
  return Array.from({ length: count }, (_, i) => decoded.slice(i === 0 ? 0 : ends[i - 1], ends[i]));
}

/** Strings one by one, to name the one that is not UTF-8. @throws GgufError */
function decodeEach(bytes: Uint8Array, count: number, where: string): string[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let offset = 0;
  return Array.from({ length: count }, (_, i) => {
    const begin = offset + 8;
    offset = begin + readLength(view, offset);
    return decodeUtf8(bytes.subarray(begin, offset), () => `${where}, element ${i},`);
  });
}

function tryDecode(bytes: Uint8Array): string | undefined {
  try {
    return UTF8.decode(bytes);
  } catch {
    return undefined;
  }
}

/** Whether a byte of UTF-8 continues a character. */
function isContinuation(byte: number): boolean {
  return (byte & 0xc0) === 0x80;
}

function exactInteger(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function isIntegerType(type: ValueType | undefined): boolean {
  return type !== undefined && /^u?int/.test(type);
}

function describeValue({ type, value }: GgufValue): string {
  if (type === 'array') return `an array of ${value.count} values of type ${value.elements}`;
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return `${text.length > 80 ? `${text.slice(0, 77)}…` : text} of type ${type}`;
}

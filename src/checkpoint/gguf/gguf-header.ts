import { GgufError } from '../../errors.ts';
import {
  decodeUtf8,
  FIXED_BYTES,
  GgufMetadata,
  type GgufValue,
  readFixed,
  readLength,
  VALUE_TYPES,
  type ValueType,
} from './gguf-metadata.ts';
import { tensorType } from './types/registry.ts';
import type { TensorType } from './types/tensor-type.ts';

/**
 * The header of a GGUF file: magic, version, counts, metadata, and what tensors there are. The data follow, at the next
 * multiple of the alignment. All numbers are little-endian.
 *
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; checks: llama.cpp's ggml/src/gguf.cpp.
 */

/** Type, shape and place of a tensor. */
export interface GgufTensorInfo {
  readonly name: string;
  readonly type: TensorType;
  /** Row-major: the reverse of what the file lists. */
  readonly shape: readonly number[];
  /** First byte in the file. */
  readonly begin: number;
  /** One past the last byte. */
  readonly end: number;
}

/** A checked header. */
export interface GgufHeader {
  readonly metadata: GgufMetadata;
  /** In the order of the data. */
  readonly tensors: ReadonlyMap<string, GgufTensorInfo>;
}

/** The header goes on after the bytes that were given. */
export interface Unfinished {
  /** Bytes from the start of the file that are needed at least. */
  readonly needed: number;
}

/** 'GGUF' */
const MAGIC = 0x46554747;
const VERSIONS: readonly number[] = [2, 3];
const DEFAULT_ALIGNMENT = 32;
/** The limit of ggml. */
const MAX_DIMENSIONS = 4;
/** Bytes that a string takes at least: its length. */
const STRING_BYTES = 8;
/** Bytes that an entry of the metadata takes at least: an empty key, a type, a value of one byte. */
const ENTRY_BYTES = STRING_BYTES + 4 + 1;
/** Bytes that a tensor takes at least: an empty name, a number of dimensions, a type, an offset. */
const TENSOR_BYTES = STRING_BYTES + 4 + 4 + 8;

const NO_BEGINS = new Uint32Array();

const DAMAGED = 'The file is damaged or was not written as GGUF; download or convert it again.';
const TRUNCATED = 'The download was probably interrupted; get the file again.';

/**
 * Parses and checks a header, or says how much of the file that takes.
 * @param bytes the file's first bytes
 * @param fileBytes size of the file, which bounds every count before memory is taken for it
 * @throws GgufError
 */
export function parseGgufHeader(bytes: Uint8Array, fileBytes: number, fileName: string): GgufHeader | Unfinished {
  try {
    return new HeaderParser(bytes, fileBytes, fileName).parse();
  } catch (error) {
    if (error instanceof MoreNeeded) return { needed: error.needed };
    throw error;
  }
}

/** Ends the parsing of a header of which not enough is there. */
class MoreNeeded {
  readonly needed: number;

  constructor(needed: number) {
    this.needed = needed;
  }
}

class HeaderParser {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #fileBytes: number;
  readonly #fileName: string;
  #offset = 0;

  constructor(bytes: Uint8Array, fileBytes: number, fileName: string) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#fileBytes = fileBytes;
    this.#fileName = fileName;
  }

  parse(): GgufHeader {
    this.#parseVersion();
    const tensorCount = this.#count('tensors', TENSOR_BYTES);
    const entryCount = this.#count('entries of metadata', ENTRY_BYTES);
    const metadata = this.#parseMetadata(entryCount);
    const alignment = this.#alignment(metadata);
    const infos = Array.from({ length: tensorCount }, (_, i) => this.#parseTensor(i, alignment));
    const dataBegin = Math.ceil(this.#offset / alignment) * alignment;
    const tensors = infos
      .map((info) => ({ ...info, begin: dataBegin + info.begin, end: dataBegin + info.end }))
      .sort((a, b) => a.begin - b.begin || a.end - b.end);
    this.#checkLayout(tensors);
    const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
    if (byName.size < tensors.length) {
      const twice = tensors.find((tensor) => byName.get(tensor.name) !== tensor);
      this.#fail(`it has two tensors of the name '${twice?.name}'.`);
    }
    return { metadata, tensors: byName };
  }

  #parseVersion(): void {
    if (this.#fileBytes < 24) this.#fail(`the file has ${this.#fileBytes} bytes, fewer than any header.`, TRUNCATED);
    if (this.#uint32() !== MAGIC) {
      const start = Array.from(this.#bytes.subarray(0, 4), (byte) => byte.toString(16).padStart(2, '0')).join(' ');
      this.#fail(`the file begins with the bytes ${start}, expected 47 47 55 46 ('GGUF').`);
    }
    const version = this.#uint32();
    if (VERSIONS.includes(version)) return;
    if (VERSIONS.includes(swapped(version))) {
      this.#fail('the file is big-endian.', 'Get the little-endian file that all other machines use.');
    }
    this.#fail(
      `the file has version ${version} of GGUF, expected ${VERSIONS.join(' or ')}.`,
      version < 2
        ? 'Convert the model again with a current llama.cpp.'
        : 'A newer version of this library may read it.',
    );
  }

  #parseMetadata(count: number): GgufMetadata {
    const values = new Map<string, GgufValue>();
    for (let i = 0; i < count; i++) {
      const key = this.#string(() => `the key of entry ${i} of the metadata`);
      if (values.has(key)) this.#fail(`the metadata have the key '${key}' twice.`);
      const type = this.#valueType(`'${key}'`);
      values.set(key, this.#value(key, type));
    }
    return new GgufMetadata(values, this.#fileName);
  }

  #value(key: string, type: ValueType): GgufValue {
    if (type === 'string') return { type, value: this.#string(() => `'${key}'`) };
    if (type !== 'array') return { type, value: readFixed(this.#view, this.#take(FIXED_BYTES[type]), type) };
    const elements = this.#valueType(`elements of '${key}'`);
    if (elements === 'array') return this.#fail(`'${key}' is an array of arrays, which no reader takes.`);
    const count = this.#count(`values in '${key}'`, elements === 'string' ? STRING_BYTES : FIXED_BYTES[elements]);
    const begin = this.#offset;
    const begins = elements === 'string' ? this.#skipStrings(count, key) : NO_BEGINS;
    if (elements !== 'string') this.#take(count * FIXED_BYTES[elements]);
    return { type, value: { elements, count, bytes: this.#bytes.subarray(begin, this.#offset), begins } };
  }

  /** → where the strings begin, counted from here. A plain loop: a vocabulary and its merges have some hundred thousand. */
  #skipStrings(count: number, key: string): Uint32Array {
    const begin = this.#offset;
    const most = this.#bytes.length;
    if (begin + count * STRING_BYTES > most) throw new MoreNeeded(begin + count * STRING_BYTES);
    const begins = new Uint32Array(count);
    let offset = begin;
    for (let i = 0; i < count; i++) {
      offset += STRING_BYTES;
      if (offset > most) this.#goTo(offset);
      const length = readLength(this.#view, offset - STRING_BYTES);
      if (length > this.#fileBytes - offset) {
        this.#offset = offset;
        this.#failLength(`element ${i} of '${key}'`, length);
      }
      begins[i] = offset - begin;
      offset += length;
    }
    this.#goTo(offset);
    return begins;
  }

  #valueType(what: string): ValueType {
    const id = this.#uint32();
    const type = VALUE_TYPES.at(id);
    return type ?? this.#fail(`${what} has the unknown type ${id}, expected 0 to ${VALUE_TYPES.length - 1}.`);
  }

  #alignment(metadata: GgufMetadata): number {
    const alignment = metadata.optionalInteger('general.alignment') ?? DEFAULT_ALIGNMENT;
    if (Number.isInteger(Math.log2(alignment)) && alignment <= 2 ** 30) return alignment;
    return this.#fail(`'general.alignment' is ${alignment}, expected a power of two.`);
  }

  /** → a tensor with its place in the data section */
  #parseTensor(index: number, alignment: number): GgufTensorInfo {
    const name = this.#string(() => `the name of tensor ${index}`);
    const dimensions = this.#uint32();
    if (dimensions > MAX_DIMENSIONS) {
      this.#fail(`tensor '${name}' has ${dimensions} dimensions, expected at most ${MAX_DIMENSIONS}.`);
    }
    const shape = Array.from({ length: dimensions }, () => this.#uint64()).reverse();
    const id = this.#uint32();
    const begin = this.#uint64();
    const type = tensorType(id);
    if (type === undefined) {
      return this.#fail(
        `tensor '${name}' is of the unknown type ${id}.`,
        'Use another quantization of the model, such as Q4_K_M or Q8_0; a newer version of this library may read it.',
      );
    }
    const values = shape.reduce((product, size) => product * size, 1);
    // Partial products too: a zero further on must not hide that earlier sizes overflow.
    const largest = shape.reduce((product, size) => product * Math.max(1, size), 1);
    if (!(largest <= Number.MAX_SAFE_INTEGER)) {
      this.#fail(`tensor '${name}' has the shape [${shape}], whose number of values is too large.`);
    }
    const rowValues = shape.at(-1) ?? 1;
    if (rowValues % type.blockValues !== 0) {
      const blocks = `blocks of ${type.blockValues}`;
      this.#fail(`tensor '${name}' of type ${type.name} has rows of ${rowValues} values, expected ${blocks}.`);
    }
    if (begin % alignment !== 0) {
      this.#fail(`tensor '${name}' begins at ${begin}, expected a multiple of the alignment ${alignment}.`);
    }
    const bytes = (values / type.blockValues) * type.blockBytes;
    return { name, type, shape, begin, end: begin + bytes };
  }

  #checkLayout(sorted: readonly GgufTensorInfo[]): void {
    const beyond = sorted.find(({ begin, end }) => !(end <= this.#fileBytes && begin <= end));
    if (beyond !== undefined) {
      const { name, end } = beyond;
      this.#fail(`tensor '${name}' ends at byte ${end}, but the file has ${this.#fileBytes}.`, TRUNCATED);
    }
    for (const [i, { name, begin, end }] of sorted.entries()) {
      const previous = sorted.at(i - 1);
      if (i === 0 || previous === undefined || begin === end || previous.end <= begin) continue;
      this.#fail(`tensor '${name}' begins at byte ${begin}, inside tensor '${previous.name}'.`);
    }
  }

  /** Bytes of the file that follow. */
  get #rest(): number {
    return this.#fileBytes - this.#offset;
  }

  /** A number of things of which each takes at least so many bytes. */
  #count(what: string, leastBytes: number): number {
    const count = this.#uint64();
    if (count * leastBytes <= this.#rest) return count;
    return this.#fail(`it claims ${count} ${what}, but only ${this.#rest} bytes follow.`);
  }

  #string(what: () => string): string {
    const length = this.#uint64();
    if (length > this.#rest) this.#failLength(what(), length);
    const begin = this.#take(length);
    return decodeUtf8(this.#bytes.subarray(begin, begin + length), () => `${this.#fileName}: ${what()}`);
  }

  #uint32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  /** Rounded from 2^53 on, where no bound is met. */
  #uint64(): number {
    return readLength(this.#view, this.#take(8));
  }

  /** Goes on by so many bytes. → where they begin */
  #take(length: number): number {
    const begin = this.#offset;
    this.#goTo(begin + length);
    return begin;
  }

  #goTo(offset: number): void {
    if (offset > this.#fileBytes) this.#fail('the file ends in the middle of its header.', TRUNCATED);
    this.#offset = offset;
    if (offset > this.#bytes.length) throw new MoreNeeded(offset);
  }

  #failLength(what: string, length: number): never {
    this.#fail(`${what} claims to be ${length} bytes long, but only ${this.#rest} follow.`);
  }

  #fail(problem: string, hint = DAMAGED): never {
    throw new GgufError(`${this.#fileName}: ${problem}`, hint);
  }
}

/** A 32-bit number with its bytes in the other order. */
function swapped(value: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, value, true);
  return view.getUint32(0, false);
}

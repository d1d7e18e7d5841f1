import { SafetensorsError } from '../../errors.ts';
import { describeJson, getOwn, isJsonObject, type JsonValue } from '../json/json.ts';
import { JsonParser, JsonSyntaxError } from '../json/json-parser.ts';

/**
 * The header of a safetensors file: 8 bytes of little-endian length, then that much JSON, then the data section.
 * Format and checks: https://github.com/huggingface/safetensors (README "Format", safetensors/src/tensor.rs).
 */

/** Bits per element of every dtype of the format. */
const DTYPE_BITS = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
} as const;

/** A dtype by its name in the format. */
export type SafetensorsDType = keyof typeof DTYPE_BITS;

/** Dtype, shape and place of a tensor. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: SafetensorsDType;
  /** Row-major; [] is a scalar. */
  readonly shape: readonly number[];
  /** First byte, counted from the start of the data section. */
  readonly begin: number;
  /** One past the last byte. */
  readonly end: number;
}

/** A checked header. */
export interface SafetensorsHeader {
  /** Tensors by name, in the order of their data. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Bytes before the header that hold its length. */
export const LENGTH_BYTES = 8;
/** The limit of the reference implementation: a header of this size would already name a million tensors. */
export const MAX_HEADER_BYTES = 100_000_000;

const METADATA_KEY = '__metadata__';
const DAMAGED = 'The file is damaged or was not written as safetensors; download or convert it again.';

/**
 * Parses and checks a header.
 * @param bytes the header's JSON, without the length in front
 * @param dataBytes size of the data section that follows
 * @throws SafetensorsError on anything that the reference implementation rejects, and on duplicate keys
 */
export function parseSafetensorsHeader(bytes: Uint8Array, dataBytes: number, fileName: string): SafetensorsHeader {
  const fail = failIn(fileName);
  const json = parseJson(bytes, fail);
  const tensors: TensorInfo[] = [];
  for (const [name, entry] of Object.entries(json)) {
    if (name !== METADATA_KEY) tensors.push(parseTensor(name, entry, fail));
  }
  tensors.sort((a, b) => a.begin - b.begin || a.end - b.end);
  checkLayout(tensors, dataBytes, fail);
  return {
    tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])),
    metadata: parseMetadata(getOwn(json, METADATA_KEY), fail),
  };
}

type Fail = (problem: string, hint?: string, cause?: unknown) => never;

/** Reports problems of one file. */
export function failIn(fileName: string): Fail {
  return (problem, hint = DAMAGED, cause = undefined) => {
    throw new SafetensorsError(`${fileName}: ${problem}`, hint, { cause });
  };
}

function parseJson(bytes: Uint8Array, fail: Fail): { [key: string]: JsonValue } {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    return fail('the header is not UTF-8.', DAMAGED, error);
  }
  if (!text.startsWith('{')) return fail(`the header must start with '{', found ${JSON.stringify(text.slice(0, 10))}.`);
  try {
    const json = new JsonParser(text, { allowNonFinite: false, rejectDuplicateKeys: true }).parse();
    return isJsonObject(json) ? json : fail('the header is not a JSON object.');
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    return fail(`the header is not valid JSON: ${error.message} at character ${error.index}.`, DAMAGED, error);
  }
}

function parseTensor(name: string, entry: JsonValue, fail: Fail): TensorInfo {
  const tensor = `tensor '${name}'`;
  if (!isJsonObject(entry)) return fail(`${tensor} is ${describeJson(entry)}, expected {dtype, shape, data_offsets}.`);
  const dtype = getOwn(entry, 'dtype');
  if (!isDType(dtype)) {
    const known = Object.keys(DTYPE_BITS).join(', ');
    const problem = `${tensor} has the unknown dtype ${describeJson(dtype)}, expected one of ${known}.`;
    return fail(problem, typeof dtype === 'string' ? 'A newer version of the format may have it.' : DAMAGED);
  }
  const shape = getOwn(entry, 'shape');
  if (!isSizes(shape)) {
    return fail(`${tensor} has the shape ${describeJson(shape)}, expected a list of integers of at least 0.`);
  }
  const offsets = getOwn(entry, 'data_offsets');
  if (!isSizes(offsets) || offsets.length !== 2 || offsets[0] > offsets[1]) {
    return fail(`${tensor} has data_offsets ${describeJson(offsets)}, expected [begin, end] with 0 <= begin <= end.`);
  }
  const [begin, end] = offsets;
  const bits = countBits(shape, DTYPE_BITS[dtype]);
  if (bits === undefined) {
    return fail(`${tensor} has the shape ${describeJson(shape)}, whose number of elements is too large.`);
  }
  if (bits !== (end - begin) * 8) {
    return fail(`${tensor} takes ${end - begin} bytes, but ${dtype} of shape [${shape}] takes ${bits / 8}.`);
  }
  return { name, dtype, shape, begin, end };
}

/** Undefined on overflow, of a partial product too: a zero further on must not hide that earlier sizes overflow. */
function countBits(shape: readonly number[], bitsPerElement: number): number | undefined {
  let bits = bitsPerElement;
  for (const size of shape) {
    bits *= size;
    if (!Number.isSafeInteger(bits)) return undefined;
  }
  return bits;
}

/** The tensors must cover the data section exactly: what is hidden in a gap could be another file. */
function checkLayout(sorted: readonly TensorInfo[], dataBytes: number, fail: Fail): void {
  const last = sorted.reduce((end, tensor) => Math.max(end, tensor.end), 0);
  if (last > dataBytes) {
    const tensor = sorted.find(({ end }) => end > dataBytes);
    fail(
      `the file is truncated: ${last - dataBytes} bytes are missing, the first of them in tensor '${tensor?.name}'.`,
      'The download was probably interrupted; get the file again.',
    );
  }
  let covered = 0;
  let previous = '';
  for (const { name, begin, end } of sorted) {
    if (begin < covered) fail(`tensor '${name}' starts at byte ${begin}, inside tensor '${previous}'.`);
    if (begin > covered) fail(`${begin - covered} bytes before tensor '${name}' belong to no tensor.`);
    covered = end;
    previous = name;
  }
  if (covered < dataBytes) fail(`${dataBytes - covered} bytes after the last tensor belong to no tensor.`);
}

function parseMetadata(value: JsonValue | undefined, fail: Fail): Readonly<Record<string, string>> {
  // Null is what some writers make of no metadata.
  if (value === undefined || value === null) return {};
  if (!isJsonObject(value)) return fail(`${METADATA_KEY} is ${describeJson(value)}, expected an object of strings.`);
  const entries: [string, string][] = [];
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') {
      return fail(`${METADATA_KEY} has ${describeJson(text)} under '${key}', expected a string.`);
    }
    entries.push([key, text]);
  }
  return Object.fromEntries(entries);
}

function isDType(value: JsonValue | undefined): value is SafetensorsDType {
  return typeof value === 'string' && Object.hasOwn(DTYPE_BITS, value);
}

function isSizes(value: JsonValue | undefined): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && Number(size) >= 0);
}

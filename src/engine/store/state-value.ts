import { StateStoreError } from '../../errors.ts';
import { sha256 } from '../../util/sha256.ts';

/** Floats of a value, by their names. */
export type Vectors = Readonly<Record<string, Float32Array>>;

const MAGIC = 0x5453324d;
const DIGEST_BYTES = 32;
/** The digest, the magic number and the length of the header. */
const FIXED_BYTES = DIGEST_BYTES + 8;

interface Header {
  readonly key: string;
  /** Number of floats in each vector, in their order. */
  readonly lengths: Readonly<Record<string, number>>;
}

/**
 * A value of a store: SHA-256 of all that follows, "M2ST", the length of a header, the header as JSON, and floats, all
 * little-endian. The header has the key, so a value counts only under the key that it was made for, which stands for the
 * model, the tenant and the tokens.
 */
export async function encodeValue(key: string, vectors: Vectors): Promise<Uint8Array<ArrayBuffer>> {
  const lengths = Object.fromEntries(Object.entries(vectors).map(([name, { length }]) => [name, length]));
  const json = JSON.stringify({ key, lengths } satisfies Header);
  const header = new TextEncoder().encode(json.padEnd(4 * Math.ceil(json.length / 4)));
  const count = Object.values(lengths).reduce((sum, length) => sum + length, 0);
  const bytes = new Uint8Array(FIXED_BYTES + header.length + 4 * count);
  const view = new DataView(bytes.buffer, DIGEST_BYTES);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, header.length, true);
  bytes.set(header, FIXED_BYTES);
  const floats = new Float32Array(bytes.buffer, FIXED_BYTES + header.length);
  let filled = 0;
  for (const vector of Object.values(vectors)) {
    floats.set(vector, filled);
    filled += vector.length;
  }
  bytes.set(await sha256(bytes.subarray(DIGEST_BYTES)));
  return bytes;
}

/**
 * The vectors of a value.
 * @param lengths that they must have.
 * Rejects with StateStoreError where the bytes are not those of a value that was put under this key, whole and unchanged.
 */
export async function decodeValue<Name extends string>(
  key: string,
  value: Uint8Array,
  lengths: Readonly<Record<Name, number>>,
): Promise<Record<Name, Float32Array>> {
  if (value.length < FIXED_BYTES) throw damaged(key, `it has ${value.length} bytes`);
  const bytes = aligned(value);
  const digest = await sha256(bytes.subarray(DIGEST_BYTES));
  if (!digest.every((byte, i) => byte === bytes[i])) throw damaged(key, 'its contents do not match its checksum');
  const view = new DataView(bytes.buffer, bytes.byteOffset + DIGEST_BYTES);
  if (view.getUint32(0, true) !== MAGIC) throw damaged(key, 'it is not a state');
  const begin = FIXED_BYTES + view.getUint32(4, true);
  const header = readHeader(key, bytes.subarray(FIXED_BYTES, begin));
  if (header.key !== key) throw damaged(key, `it was put under '${header.key}'`);
  const found = JSON.stringify(header.lengths);
  const names = Object.keys(lengths) as Name[];
  if (found !== JSON.stringify(lengths)) throw damaged(key, `it has ${found} numbers`);
  const count = names.reduce((sum, name) => sum + lengths[name], 0);
  if (begin + 4 * count !== bytes.length) throw damaged(key, `it has ${bytes.length} bytes`);
  let filled = bytes.byteOffset + begin;
  const vector = (name: Name) => {
    const floats = new Float32Array(bytes.buffer, filled, lengths[name]);
    filled += 4 * lengths[name];
    return floats;
  };
  return Object.fromEntries(names.map((name) => [name, vector(name)])) as Record<Name, Float32Array>;
}

/** Bytes of a value, but for its short header. */
export function valueBytes(count: number): number {
  return FIXED_BYTES + 4 * count;
}

/** The bytes, where floats can be read from them: a copy of those that begin elsewhere. */
function aligned(value: Uint8Array): Uint8Array<ArrayBuffer> {
  const { buffer, byteOffset, length } = value;
  return buffer instanceof ArrayBuffer && byteOffset % 4 === 0
    ? new Uint8Array(buffer, byteOffset, length)
    : new Uint8Array(value);
}

function readHeader(key: string, bytes: Uint8Array): Partial<Header> {
  try {
    return JSON.parse(new TextDecoder().decode(bytes)) ?? {};
  } catch {
    throw damaged(key, 'its header is not JSON');
  }
}

function damaged(key: string, problem: string): StateStoreError {
  return new StateStoreError(`The store's value '${key}' is not what was put there: ${problem}.`);
}

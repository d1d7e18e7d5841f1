import { type FileHandle, open } from 'node:fs/promises';
import { float16Bits } from '../src/tensor/float16.ts';

/** Types of metadata values; numbers name the type that stores them. */
export type GgufValue =
  | string
  | boolean
  | { readonly uint32: number }
  | { readonly float32: number }
  | { readonly strings: readonly string[] }
  | { readonly int32s: readonly number[] };

/** Name, place and type of a tensor. */
interface DescribedTensor {
  readonly name: string;
  /** Row-major, outermost axis first; the file has them the other way round. */
  readonly shape: readonly number[];
}

/** One tensor to write. Its values are asked for when their turn comes, so that only one is held at a time. */
export interface GgufTensor extends DescribedTensor {
  readonly dtype: GgufDType;
  /** Name of ours whose values it has, changed as llama.cpp wants them. */
  readonly ourName: string;
  values(): Float32Array;
}

/** A tensor whose blocks are made elsewhere. */
export interface GgufBlocks extends DescribedTensor {
  readonly dtype: 'Q8_0' | 'Q4_0' | 'Q4_K' | 'Q6_K' | 'NVFP4';
  blocks(): Uint8Array;
}

/** Types that values are encoded in here. */
export type GgufDType = 'F32' | 'F16' | 'BF16' | 'Q8_0';

/** Values of Q8_0 that share a scale. Rows must be a multiple of it. */
const Q8_BLOCK = 32;

/** ggml's numbers of these types, and their bytes per value. */
const DTYPES = {
  F32: { id: 0, bytes: 4 },
  F16: { id: 1, bytes: 2 },
  BF16: { id: 30, bytes: 2 },
  Q8_0: { id: 8, bytes: (2 + Q8_BLOCK) / Q8_BLOCK },
  Q4_0: { id: 2, bytes: 18 / 32 },
  Q4_K: { id: 12, bytes: 144 / 256 },
  Q6_K: { id: 14, bytes: 210 / 256 },
  NVFP4: { id: 40, bytes: 36 / 64 },
} as const;

const UINT32 = 4;
const INT32 = 5;
const FLOAT32 = 6;
const BOOL = 7;
const STRING = 8;
const ARRAY = 9;
const VERSION = 3;
/** Default alignment: tensors begin at multiples of this. */
const ALIGNMENT = 32;

/** Writes a GGUF file (version 3): metadata, the tensors' descriptions, then their values. */
export async function writeGguf(
  path: string,
  metadata: ReadonlyMap<string, GgufValue>,
  tensors: readonly (GgufTensor | GgufBlocks)[],
): Promise<void> {
  const file = await open(path, 'w');
  try {
    await append(file, header(metadata, tensors));
    for (const tensor of tensors) await append(file, padded(bytesOf(tensor)));
  } finally {
    await file.close();
  }
}

function bytesOf(tensor: GgufTensor | GgufBlocks): Buffer {
  if ('values' in tensor) return encode(tensor);
  const { buffer, byteOffset, byteLength } = tensor.blocks();
  return Buffer.from(buffer, byteOffset, byteLength);
}

function header(
  metadata: ReadonlyMap<string, GgufValue>,
  tensors: readonly Pick<GgufTensor | GgufBlocks, 'name' | 'shape' | 'dtype'>[],
): Buffer {
  const parts = [Buffer.from('GGUF'), uint32(VERSION), uint64(tensors.length), uint64(metadata.size)];
  for (const [key, value] of metadata) parts.push(string(key), metadataValue(value));
  let offset = 0;
  for (const { name, shape, dtype } of tensors) {
    const { id, bytes } = DTYPES[dtype];
    parts.push(string(name), uint32(shape.length), ...shape.toReversed().map(uint64), uint32(id), uint64(offset));
    offset += aligned(elementCount(shape) * bytes);
  }
  return padded(Buffer.concat(parts));
}

function metadataValue(value: GgufValue): Buffer {
  if (typeof value === 'string') return Buffer.concat([uint32(STRING), string(value)]);
  if (typeof value === 'boolean') return Buffer.concat([uint32(BOOL), Buffer.of(value ? 1 : 0)]);
  if ('strings' in value) {
    return Buffer.concat([uint32(ARRAY), uint32(STRING), uint64(value.strings.length), ...value.strings.map(string)]);
  }
  if ('int32s' in value) {
    const numbers = Buffer.from(Int32Array.from(value.int32s).buffer);
    return Buffer.concat([uint32(ARRAY), uint32(INT32), uint64(value.int32s.length), numbers]);
  }
  if ('uint32' in value) return Buffer.concat([uint32(UINT32), uint32(value.uint32)]);
  const float = Buffer.alloc(4);
  float.writeFloatLE(value.float32);
  return Buffer.concat([uint32(FLOAT32), float]);
}

function encode(tensor: GgufTensor): Buffer {
  const values = tensor.values();
  if (values.length !== elementCount(tensor.shape)) throw new Error(`'${tensor.name}' has ${values.length} values.`);
  if (tensor.dtype === 'F32') return Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  if (tensor.dtype === 'Q8_0') return encodeQ8(values);
  if (tensor.dtype === 'F16') return Buffer.from(Uint16Array.from(values, float16Bits).buffer);
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  // The upper half of a float32, rounded to nearest even. Made-up weights have no NaN that rounding could lose.
  const halves = new Uint16Array(bits.length);
  for (let i = 0; i < bits.length; i++) halves[i] = (bits[i] + 0x7fff + ((bits[i] >>> 16) & 1)) >>> 16;
  return Buffer.from(halves.buffer);
}

/** Quantises as ggml does: a block is a float16 scale, then 32 int8, of which the largest is 127 or -127. */
function encodeQ8(values: Float32Array): Buffer {
  const blockBytes = 2 + Q8_BLOCK;
  const out = Buffer.alloc((values.length / Q8_BLOCK) * blockBytes);
  for (let block = 0; block * Q8_BLOCK < values.length; block++) {
    const own = values.subarray(block * Q8_BLOCK, (block + 1) * Q8_BLOCK);
    const scale = own.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127;
    out.writeUInt16LE(float16Bits(scale), block * blockBytes);
    own.forEach((value, i) => {
      out.writeInt8(scale === 0 ? 0 : Math.round(value / scale), block * blockBytes + 2 + i);
    });
  }
  return out;
}

/** A write call may take less than it is given, as with more than 2 GiB. */
async function append(file: FileHandle, bytes: Buffer): Promise<void> {
  for (let begin = 0; begin < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, begin, Math.min(bytes.length - begin, 2 ** 28));
    begin += bytesWritten;
  }
}

function padded(bytes: Buffer): Buffer {
  const missing = aligned(bytes.length) - bytes.length;
  return missing === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(missing)]);
}

function aligned(size: number): number {
  return Math.ceil(size / ALIGNMENT) * ALIGNMENT;
}

function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

function string(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8');
  return Buffer.concat([uint64(bytes.length), bytes]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function uint64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

import { ArgumentError } from '../../errors.ts';
import { float16Bits, roundToBfloat16 } from '../../tensor/float16.ts';
import { LENGTH_BYTES } from './safetensors-header.ts';

/** A tensor to write. `data` is row-major, one value per element of `shape`. */
export interface TensorToWrite {
  readonly name: string;
  readonly dtype: 'F32' | 'BF16' | 'F16';
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/**
 * A safetensors file of these tensors, in the order given; equal input gives equal bytes. The data section starts at a
 * multiple of 8, as the reference implementation writes it. Values round to the nearest of the dtype, ties to even.
 * Throws ArgumentError on a name given twice or a shape that does not fit its data.
 */
export function writeSafetensors(
  tensors: Iterable<TensorToWrite>,
  metadata?: Readonly<Record<string, string>> | undefined,
): Uint8Array<ArrayBuffer> {
  const header = new Map<string, unknown>();
  if (metadata !== undefined) header.set('__metadata__', metadata);
  const parts: Uint8Array[] = [];
  let offset = 0;
  for (const { name, dtype, shape, data } of tensors) {
    if (header.has(name)) throw new ArgumentError(`Tensor '${name}' was given twice, or is a reserved name.`);
    if (shape.reduce((product, size) => product * size, 1) !== data.length) {
      throw new ArgumentError(`Tensor '${name}' has ${data.length} values, which the shape [${shape}] does not hold.`);
    }
    const bytes = toBytes(dtype, data);
    header.set(name, { dtype, shape, data_offsets: [offset, offset + bytes.length] });
    parts.push(bytes);
    offset += bytes.length;
  }
  // Written entry by entry: a name such as '12' or '__proto__' would change place or vanish in a plain object.
  const entries = [...header].map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);
  const json = new TextEncoder().encode(`{${entries.join(',')}}`);
  const headerBytes = Math.ceil(json.length / 8) * 8;
  const file = new Uint8Array(LENGTH_BYTES + headerBytes + offset).fill(0x20, 0, LENGTH_BYTES + headerBytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(headerBytes), true);
  file.set(json, LENGTH_BYTES);
  let position = LENGTH_BYTES + headerBytes;
  for (const part of parts) {
    file.set(part, position);
    position += part.length;
  }
  return file;
}

function toBytes(dtype: TensorToWrite['dtype'], data: Float32Array): Uint8Array {
  switch (dtype) {
    case 'F32':
      return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    case 'BF16':
      return bytesOf(bfloat16Bits(data));
    case 'F16':
      return bytesOf(Uint16Array.from(data, float16Bits));
  }
}

function bytesOf(bits: Uint16Array): Uint8Array {
  return new Uint8Array(bits.buffer, bits.byteOffset, bits.byteLength);
}

function bfloat16Bits(data: Float32Array): Uint16Array {
  const bits = new Uint32Array(Float32Array.from(data, roundToBfloat16).buffer);
  return Uint16Array.from(bits, (word) => word >>> 16);
}

import { GgufError, WeightDTypeError } from '../../errors.ts';
import { joinBytes } from '../../util/join-bytes.ts';
import type { ByteSource } from '../files/byte-source.ts';
import type { ReadScratch } from '../files/read-scratch.ts';
import { type RowRange, resolveRows } from '../files/row-range.ts';
import type { StoredTensor } from '../files/stored-tensor.ts';
import { ggufBlocks } from './gguf-blocks.ts';
import { type GgufHeader, type GgufTensorInfo, parseGgufHeader } from './gguf-header.ts';
import { readableTypes } from './types/registry.ts';

/** What is read first: enough for the header of a small model. */
const FIRST_BYTES = 2 ** 18;
/** Each further read is of so many times as much: a header has some megabytes where the vocabulary is large. */
const GROWTH = 4;
/** A header of this size would hold a vocabulary of millions. */
const MAX_HEADER_BYTES = 2 ** 28;

/** Reads the header of a file in ranges that grow until it is whole; the data are left alone. Rejects with GgufError. */
export async function readGgufHeader(source: ByteSource): Promise<GgufHeader> {
  let bytes = new Uint8Array();
  for (let size = FIRST_BYTES; ; size *= GROWTH) {
    const end = Math.min(size, source.size, MAX_HEADER_BYTES);
    bytes = joinBytes([bytes, await source.read(bytes.length, end - bytes.length)]);
    const header = parseGgufHeader(bytes, source.size, source.name);
    if (!('needed' in header)) return header;
    if (header.needed > MAX_HEADER_BYTES) {
      throw new GgufError(
        `${source.name}: the header has more than ${MAX_HEADER_BYTES} bytes.`,
        'No model needs that.',
      );
    }
    while (size * GROWTH < header.needed) size *= GROWTH;
  }
}

/** A tensor of a file, to read from. */
export function ggufTensor(source: ByteSource, info: GgufTensorInfo, file: string): StoredTensor {
  const { name, type, shape, begin, end } = info;
  const { dequantize, blockValues, blockBytes } = type;
  const rowCount = shape[0] ?? 1;
  const rowValues = shape.slice(1).reduce((product, size) => product * size, 1);
  const problem = dequantize === undefined ? unreadableType(source.name, info) : undefined;
  const readBytes: StoredTensor['readBytes'] = async (range = {}, scratch) => {
    const { firstRow, rows } = resolveRows(name, shape, range);
    const rowBytes = rowCount === 0 ? 0 : (end - begin) / rowCount;
    return source.read(begin + firstRow * rowBytes, rows * rowBytes, scratch?.bytes);
  };
  return {
    dtype: type.name,
    shape,
    file,
    byteLength: end - begin,
    isSequential: source.isSequential ?? false,
    problem,
    async readFloat32(range: RowRange = {}, scratch?: ReadScratch): Promise<Float32Array> {
      if (dequantize === undefined) throw unreadableType(source.name, info);
      const { firstRow, rows } = resolveRows(name, shape, range);
      // The values of a list are rows, which blocks straddle.
      const firstBlock = Math.floor((firstRow * rowValues) / blockValues);
      const blocks = Math.ceil(((firstRow + rows) * rowValues) / blockValues) - firstBlock;
      const bytes = await source.read(begin + firstBlock * blockBytes, blocks * blockBytes, scratch?.bytes);
      const count = blocks * blockValues;
      if (type.name === 'F32') return new Float32Array(bytes.buffer, 0, count);
      const values = scratch?.floats(count) ?? new Float32Array(count);
      dequantize(bytes, blocks, values);
      const skipped = firstRow * rowValues - firstBlock * blockValues;
      return values.subarray(skipped, skipped + rows * rowValues);
    },
    readBytes,
    blocks: ggufBlocks(type.name, shape, readBytes),
  };
}

function unreadableType(fileName: string, { name, type }: GgufTensorInfo): WeightDTypeError {
  return new WeightDTypeError(
    `${fileName}: tensor '${name}' is stored as ${type.name}, expected one of ${readableTypes().join(', ')}.`,
    'Use another quantization of the model, such as Q4_K_M or Q8_0.',
  );
}

import { ConfigError } from '../../../errors.ts';
import { elementCount, formatShape } from '../../../tensor/tensor.ts';
import type { StoredTensor } from '../../files/stored-tensor.ts';
import { ConfigReader } from '../../json/config-reader.ts';
import { asObject, parseLenientJson } from '../../json/json.ts';
import { byteCodes } from '../decode/codes.ts';
import { TensorFactors } from '../decode/factors.ts';
import type { MatrixReader } from '../decode/matrix-reader.ts';
import { exclusionsOf } from '../weights/exclusions.ts';
import { type QuantizationMethod, samePlace } from '../weights/quantization-method.ts';
import type { NamedTensor, QuantizedModule } from '../weights/quantized-module.ts';
import type { QuantizedTensor } from '../weights/quantized-tensor.ts';

/** bitsandbytes, in 4 bits (`load_in_4bit`) or 8 (`load_in_8bit`), as transformers saves it. */
export function bitsAndBytesMethod(config: ConfigReader): QuantizationMethod {
  const is4Bit = config.boolean(['load_in_4bit', '_load_in_4bit'], { default: false });
  const is8Bit = config.boolean(['load_in_8bit', '_load_in_8bit'], { default: false });
  if (is4Bit === is8Bit) {
    throw new ConfigError(
      `${config.fileName}: bitsandbytes would have one of 'load_in_4bit' and 'load_in_8bit'.`,
      'Compare with the file of the original model.',
    );
  }
  return {
    name: is4Bit ? `bitsandbytes ${config.string('bnb_4bit_quant_type', { default: 'fp4' })}` : 'bitsandbytes int8',
    exclusions: exclusionsOf(config, ['llm_int8_skip_modules'], { isStrict: false }),
    place: (name, { dtype }) =>
      name.endsWith('.weight') && dtype === (is4Bit ? 'U8' : 'I8') ? samePlace(name) : undefined,
    open: is4Bit ? open4Bit : open8Bit,
  };
}

/** Signed bytes; `SCB` has the largest magnitude of each row, which 127 stands for. */
async function open8Bit(module: QuantizedModule): Promise<QuantizedTensor> {
  module.checkMatrix();
  const { codes } = module;
  const [, columns] = codes.shape;
  const scales = module.require('SCB');
  module.checkDType(scales, ['F32']);
  module.checkShape(scales, [codes.shape[0]]);
  const format = module.find('weight_format');
  const order = format === undefined ? 0 : (await format.tensor.readBytes())[0];
  if (order !== 0) throw module.damaged(`'${format?.name}' is ${order}; only rows (0) are read.`);
  return module.scaled(
    codes.shape,
    {
      format: 'bitsandbytes int8',
      code: 'int',
      bits: 8,
      rowsPerScale: 1,
      columnsPerScale: Infinity,
      scale: 'F32',
      offset: 'none',
      isReordered: false,
      order: 'rows',
    },
    {
      columns,
      codes: byteCodes(codes, 'signed'),
      scales: new TensorFactors(scales.tensor, 'float', {
        rowsPerFactor: 1,
        groups: 1,
        isPerMatrix: false,
        divisor: 127,
      }),
      columnsPerScale: Infinity,
    },
  );
}

const STATE_PREFIX = 'weight.quant_state.bitsandbytes__';

/**
 * Codes of 4 bits for a table of 16 values, the first of a byte in its upper half, and a scale for each block of a matrix that
 * is read as one long row. Those scales may be codes themselves: of 8 bits, with a table, a scale for each block of them, and
 * an offset. Shape and block sizes are in a tensor that holds JSON.
 */
async function open4Bit(module: QuantizedModule): Promise<QuantizedTensor> {
  const { type, state } = await readState(module);
  const shape = readShape(module, state);
  const count = elementCount(shape);
  const blockSize = state.integer('blocksize', { min: 1 });
  const codes = { name: module.codesName, tensor: module.codes };
  if (elementCount(module.codes.shape) !== Math.ceil(count / 2)) module.checkShape(codes, [Math.ceil(count / 2), 1]);
  const table = module.require('weight.quant_map');
  module.checkDType(table, ['F32']);
  module.checkShape(table, [16]);
  const blocks = Math.ceil(count / blockSize);
  const scales = module.require('weight.absmax');
  module.checkShape(scales, [blocks]);
  const nested = scales.tensor.dtype === 'U8' ? readNested(module, state, blocks) : undefined;
  module.checkDType(scales, ['F32', 'U8']);
  return module.tensor(
    shape,
    {
      format: `bitsandbytes ${type}`,
      code: type === 'nf4' ? 'NF4' : 'FP4',
      bits: 4,
      rowsPerScale: 1,
      columnsPerScale: blockSize,
      scale: nested === undefined ? 'F32' : 'U8 and F32',
      offset: 'none',
      isReordered: false,
      order: 'rows',
    },
    new FlatBlocks({
      codes: module.codes,
      table: table.tensor,
      scales: scales.tensor,
      nested,
      columns: shape[1],
      blockSize,
    }),
  );
}

async function readState(module: QuantizedModule): Promise<{ type: 'nf4' | 'fp4'; state: ConfigReader }> {
  const nf4 = module.find(`${STATE_PREFIX}nf4`);
  const { name, tensor } = nf4 ?? module.find(`${STATE_PREFIX}fp4`) ?? module.require(`${STATE_PREFIX}nf4`);
  const text = new TextDecoder().decode(await tensor.readBytes());
  const where = `tensor '${name}'`;
  return {
    type: nf4 === undefined ? 'fp4' : 'nf4',
    state: new ConfigReader(asObject(parseLenientJson(text, where), where), where),
  };
}

function readShape(module: QuantizedModule, state: ConfigReader): readonly number[] {
  const shape = state.numbers('shape', 2, []);
  if (shape.length === 2 && shape.every((extent) => Number.isSafeInteger(extent) && extent > 0)) return shape;
  throw module.damaged(`${state.fileName} says the shape ${formatShape(shape)}, which is that of no matrix.`);
}

interface Nested {
  readonly scales: StoredTensor;
  readonly table: StoredTensor;
  readonly blockSize: number;
  readonly offset: number;
}

function readNested(module: QuantizedModule, state: ConfigReader, blocks: number): Nested {
  const blockSize = state.integer('nested_blocksize', { min: 1 });
  const [scales, table]: NamedTensor[] = [
    module.require('weight.nested_absmax'),
    module.require('weight.nested_quant_map'),
  ];
  module.checkDType(scales, ['F32']);
  module.checkShape(scales, [Math.ceil(blocks / blockSize)]);
  module.checkDType(table, ['F32']);
  module.checkShape(table, [256]);
  return {
    scales: scales.tensor,
    table: table.tensor,
    blockSize,
    offset: state.number('nested_offset', { default: 0 }),
  };
}

interface FlatParts {
  readonly codes: StoredTensor;
  readonly table: StoredTensor;
  readonly scales: StoredTensor;
  readonly nested: Nested | undefined;
  readonly columns: number;
  readonly blockSize: number;
}

/** A matrix that is cut into blocks as one long row. */
class FlatBlocks implements MatrixReader {
  readonly #parts: FlatParts;
  #table: Promise<Float32Array> | undefined;
  #nested: Promise<{ scales: Float32Array; table: Float32Array }> | undefined;

  constructor(parts: FlatParts) {
    this.#parts = parts;
  }

  async readRows(_: number, firstRow: number, rows: number, out: Float32Array): Promise<void> {
    const { codes, columns, blockSize } = this.#parts;
    this.#table ??= this.#parts.table.readFloat32();
    const table = await this.#table;
    const begin = firstRow * columns;
    const end = begin + rows * columns;
    const firstBlock = Math.floor(begin / blockSize);
    const scales = await this.#scales(firstBlock, Math.ceil(end / blockSize));
    const firstByte = begin >> 1;
    const range = { firstRow: firstByte, rows: ((end + 1) >> 1) - firstByte };
    const bytes = await (codes.shape[0] === 1 ? this.#only(range) : codes.readBytes(range));
    for (let i = begin; i < end; i++) {
      const byte = bytes[(i >> 1) - firstByte];
      const code = i & 1 ? byte & 15 : byte >> 4;
      out[i - begin] = table[code] * scales[Math.floor(i / blockSize) - firstBlock];
    }
  }

  release(): void {
    this.#table = undefined;
    this.#nested = undefined;
  }

  /** Bytes of codes that lie in a single row. */
  async #only({ firstRow, rows }: { firstRow: number; rows: number }): Promise<Uint8Array> {
    return (await this.#parts.codes.readBytes()).subarray(firstRow, firstRow + rows);
  }

  async #scales(first: number, end: number): Promise<Float64Array> {
    const { scales, nested } = this.#parts;
    const range = { firstRow: first, rows: end - first };
    if (nested === undefined) return Float64Array.from(await scales.readFloat32(range));
    this.#nested ??= Promise.all([nested.scales.readFloat32(), nested.table.readFloat32()]).then(([scales, table]) => ({
      scales,
      table,
    }));
    const { scales: outer, table } = await this.#nested;
    const codes = await scales.readBytes(range);
    const scaleOf = (code: number, i: number) =>
      table[code] * outer[Math.floor((first + i) / nested.blockSize)] + nested.offset;
    return Float64Array.from(codes, scaleOf);
  }
}

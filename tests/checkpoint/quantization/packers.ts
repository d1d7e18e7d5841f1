import { e2m1Values, e4m3Values, e5m2Values, encode, nearestCode, random } from './numbers.ts';
import { bytesOf, type RawTensor } from './raw-safetensors.ts';

/** A weight to quantise: (rows, columns), row-major. */
export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly data: ArrayLike<number>;
}

/** A quantised weight: its tensors, and the values that these stand for by the format's definition. */
export interface Packed {
  readonly tensors: readonly RawTensor[];
  readonly values: Float64Array;
}

/** A weight of a model: a matrix, or a stack of them. */
export interface Weight {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** Packs a weight into the tensors of a layer. */
export type Packer = (layer: string, matrix: Matrix) => Packed;

interface Grid {
  /** Rows and columns of a block. */
  readonly block: readonly [number, number];
  /** Blocks in both directions. */
  readonly rows: number;
  readonly columns: number;
  /** The block of a value. */
  readonly of: (row: number, column: number) => number;
}

function gridOf({ rows, columns }: Matrix, blockRows: number, blockColumns: number): Grid {
  const block = [Math.min(blockRows, rows), Math.min(blockColumns, columns)] as const;
  const across = Math.ceil(columns / block[1]);
  return {
    block,
    rows: Math.ceil(rows / block[0]),
    columns: across,
    of: (row, column) => Math.floor(row / block[0]) * across + Math.floor(column / block[1]),
  };
}

/** Least and largest value of each block. */
function extremes(matrix: Matrix, grid: Grid): { least: number; largest: number; magnitude: number }[] {
  const found = Array.from({ length: grid.rows * grid.columns }, () => ({
    least: Infinity,
    largest: -Infinity,
    magnitude: 0,
  }));
  for (let row = 0; row < matrix.rows; row++) {
    for (let column = 0; column < matrix.columns; column++) {
      const value = matrix.data[row * matrix.columns + column];
      const own = found[grid.of(row, column)];
      own.least = Math.min(own.least, value);
      own.largest = Math.max(own.largest, value);
      own.magnitude = Math.max(own.magnitude, Math.abs(value));
    }
  }
  return found;
}

/** Values of (rows, columns), by row and column. */
function fill({ rows, columns }: Matrix, value: (row: number, column: number) => number): Float64Array {
  return Float64Array.from({ length: rows * columns }, (_, i) => value(Math.floor(i / columns), i % columns));
}

function raw(name: string, dtype: string, shape: readonly number[], bytes: ArrayLike<number>): RawTensor {
  return { name, dtype, shape, bytes: Uint8Array.from(bytes) };
}

function words(name: string, shape: readonly number[], values: Uint32Array, dtype = 'I32'): RawTensor {
  return { name, dtype, shape, bytes: bytesOf(values) };
}

function bytesAll(parts: readonly { bytes: number[] }[]): number[] {
  return parts.flatMap(({ bytes }) => bytes);
}

/** Codes, one after another in a string of bits, the lowest of each first, as words of 32 bits. */
function stream(codes: readonly number[], bits: number): Uint32Array {
  const packed = new Uint32Array(Math.ceil((codes.length * bits) / 32));
  for (const [i, code] of codes.entries()) {
    for (let bit = 0; bit < bits; bit++) {
      const at = i * bits + bit;
      if ((code >> bit) & 1) packed[at >> 5] |= 1 << (at & 31);
    }
  }
  return packed;
}

/** Codes in words that hold whole codes only. */
function wholeWords(codes: readonly number[], bits: number): Uint32Array {
  const perWord = Math.floor(32 / bits);
  const packed = new Uint32Array(Math.ceil(codes.length / perWord));
  for (const [i, code] of codes.entries()) packed[Math.floor(i / perWord)] |= code << (bits * (i % perWord));
  return packed;
}

function joined(parts: readonly Uint32Array[]): Uint32Array {
  const all = new Uint32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function rowsOf(codes: Float64Array, columns: number): number[][] {
  return Array.from({ length: codes.length / columns }, (_, row) => [
    ...codes.subarray(row * columns, (row + 1) * columns),
  ]);
}

function columnsOf(codes: Float64Array, columns: number): number[][] {
  const rows = codes.length / columns;
  return Array.from({ length: columns }, (_, column) =>
    Array.from({ length: rows }, (_, row) => codes[row * columns + column]),
  );
}

/** Words of each list, the word of all lists before the next: (words, lists). */
function interleaved(lists: readonly Uint32Array[]): Uint32Array {
  const count = lists[0].length;
  return Uint32Array.from(
    { length: count * lists.length },
    (_, i) => lists[i % lists.length][Math.floor(i / lists.length)],
  );
}

const PER_TENSOR = [Infinity, Infinity] as const;

/** Floats of 8 bits with scales of floats. */
export function fp8(options: {
  readonly block: readonly [number, number];
  readonly scaleName: string;
  readonly scaleDType?: 'F32' | 'BF16' | 'F16';
  readonly shape?: (grid: Grid) => readonly number[];
  readonly isE5M2?: boolean;
  readonly extra?: (layer: string) => RawTensor[];
}): Packer {
  return (layer, matrix) => {
    const values = options.isE5M2 ? e5m2Values : e4m3Values;
    const grid = gridOf(matrix, ...options.block);
    const largest = options.isE5M2 ? 57344 : 448;
    const dtype = options.scaleDType ?? 'F32';
    const scales = extremes(matrix, grid).map(({ magnitude }) => encode((magnitude * 1.01) / largest, dtype));
    const scaleOf = (row: number, column: number) => scales[grid.of(row, column)].value;
    const codes = fill(matrix, (row, column) =>
      nearestCode(values, matrix.data[row * matrix.columns + column] / scaleOf(row, column)),
    );
    const shape = options.shape?.(grid) ?? (options.block === PER_TENSOR ? [] : [grid.rows, grid.columns]);
    return {
      values: fill(matrix, (row, column) => values[codes[row * matrix.columns + column]] * scaleOf(row, column)),
      tensors: [
        raw(`${layer}.weight`, options.isE5M2 ? 'F8_E5M2' : 'F8_E4M3', [matrix.rows, matrix.columns], codes),
        raw(`${layer}.${options.scaleName}`, dtype, shape, bytesAll(scales)),
        ...(options.extra?.(layer) ?? []),
      ],
    };
  };
}

/** Floats of 4 or 8 bits with scales that are powers of two. */
export function mx(options: {
  readonly bits: 4 | 8;
  readonly names: readonly [codes: string, scales: string];
  readonly dtype: string;
  readonly scaleDType?: string;
}): Packer {
  return (layer, matrix) => {
    const { bits, names } = options;
    const values = bits === 4 ? e2m1Values : e4m3Values;
    const grid = gridOf(matrix, 1, 32);
    const exponents = extremes(matrix, grid).map(({ magnitude }) =>
      Math.max(0, Math.min(254, Math.ceil(Math.log2((magnitude || 1e-30) / (bits === 4 ? 6 : 448))) + 127)),
    );
    const scaleOf = (row: number, column: number) => 2 ** (exponents[grid.of(row, column)] - 127);
    const codes = fill(matrix, (row, column) =>
      nearestCode(values, matrix.data[row * matrix.columns + column] / scaleOf(row, column)),
    );
    const packed = bytesOf(joined(rowsOf(codes, matrix.columns).map((row) => stream(row, bits))));
    const perElement = options.dtype === 'U32' ? 32 / bits : 8 / bits;
    return {
      values: fill(matrix, (row, column) => values[codes[row * matrix.columns + column]] * scaleOf(row, column)),
      tensors: [
        raw(`${layer}.${names[0]}`, options.dtype, [matrix.rows, matrix.columns / perElement], packed),
        raw(`${layer}.${names[1]}`, options.scaleDType ?? 'U8', [grid.rows, grid.columns], exponents),
      ],
    };
  };
}

/** Floats of 4 bits in groups of 16 with scales of floats of 8 bits, and a global one that multiplies or divides these. */
export function nvfp4(options: {
  readonly names: readonly [codes: string, scales: string, global?: string];
  readonly isReciprocal?: boolean;
  readonly dtype?: string;
  readonly extra?: (layer: string) => RawTensor[];
}): Packer {
  return (layer, matrix) => {
    const { names, isReciprocal = false, dtype = 'U8' } = options;
    const grid = gridOf(matrix, 1, 16);
    const found = extremes(matrix, grid);
    const whole = Math.max(...found.map(({ magnitude }) => magnitude));
    const global = names[2] === undefined ? 1 : encode(isReciprocal ? 2688 / whole : whole / 2688, 'F32').value;
    // A scale that divides becomes a float32 that multiplies, as in vLLM.
    const factor = isReciprocal ? Math.fround(1 / global) : global;
    const scaleCodes = found.map(({ magnitude }) => nearestCode(e4m3Values, magnitude / 6 / factor) & 127);
    const scaleOf = (row: number, column: number) => e4m3Values[scaleCodes[grid.of(row, column)]] * factor;
    const codes = fill(matrix, (row, column) =>
      nearestCode(e2m1Values, matrix.data[row * matrix.columns + column] / (scaleOf(row, column) || 1)),
    );
    const packed = bytesOf(joined(rowsOf(codes, matrix.columns).map((row) => stream(row, 4))));
    return {
      values: fill(matrix, (row, column) => e2m1Values[codes[row * matrix.columns + column]] * scaleOf(row, column)),
      tensors: [
        raw(`${layer}.${names[0]}`, dtype, [matrix.rows, matrix.columns / (dtype === 'U32' ? 8 : 2)], packed),
        raw(`${layer}.${names[1]}`, dtype === 'U32' ? 'U8' : 'F8_E4M3', [grid.rows, grid.columns], scaleCodes),
        ...(names[2] === undefined
          ? []
          : [raw(`${layer}.${names[2]}`, 'F32', isReciprocal ? [1] : [], encode(global, 'F32').bytes)]),
        ...(options.extra?.(layer) ?? []),
      ],
    };
  };
}

/** A whole number of a weight, and what belongs to its block. */
interface Integers {
  readonly grid: Grid;
  readonly codes: Float64Array;
  readonly zeros: number[];
  readonly scales: { bytes: number[]; value: number }[];
  readonly values: Float64Array;
}

/** Whole numbers from `low` on, of so many bits: (code - zero) * scale. */
function integers(
  matrix: Matrix,
  options: {
    readonly bits: number;
    readonly block: readonly [number, number];
    readonly isSymmetric: boolean;
    /** Codes begin at 0, not at their least negative number. */
    readonly isUnsigned: boolean;
    readonly scaleDType: 'F32' | 'BF16' | 'F16';
    /** The group of a column; by default groups are in order. */
    readonly groupOf?: (column: number) => number;
  },
): Integers {
  const { bits, isSymmetric, isUnsigned } = options;
  const low = isUnsigned ? 0 : -(2 ** (bits - 1));
  const high = low + 2 ** bits - 1;
  const plain = gridOf(matrix, ...options.block);
  const { groupOf } = options;
  const grid = groupOf
    ? { ...plain, of: (row: number, column: number) => row * plain.columns + groupOf(column) }
    : plain;
  const found = extremes(matrix, grid);
  const scales = found.map(({ least, largest, magnitude }) =>
    encode(
      1.002 * (isSymmetric ? magnitude / 2 ** (bits - 1) : (largest - least) / (2 ** bits - 1)) || 1e-3,
      options.scaleDType,
    ),
  );
  const middle = isUnsigned ? 2 ** (bits - 1) : 0;
  const zeros = found.map(({ least }, i) =>
    isSymmetric ? middle : Math.min(high, Math.max(low, Math.round(low - least / scales[i].value))),
  );
  const codes = fill(matrix, (row, column) => {
    const at = grid.of(row, column);
    const code = Math.round(matrix.data[row * matrix.columns + column] / scales[at].value) + zeros[at];
    return Math.min(high, Math.max(low, code));
  });
  const values = fill(matrix, (row, column) => {
    const at = grid.of(row, column);
    return (codes[row * matrix.columns + column] - zeros[at]) * scales[at].value;
  });
  return { grid, codes, zeros, scales, values };
}

/** compressed-tensors' whole numbers, of a byte each or packed. */
export function compressedIntegers(options: {
  readonly bits: number;
  readonly block: readonly [number, number];
  readonly isSymmetric?: boolean;
  readonly isPacked: boolean;
  readonly hasWholeWords?: boolean;
  readonly isReordered?: boolean;
  readonly scaleDType?: 'F32' | 'BF16' | 'F16';
}): Packer {
  return (layer, matrix) => {
    const { bits, block, isSymmetric = true, scaleDType = 'BF16' } = options;
    const order = options.isReordered ? shuffledGroups(matrix.columns, block[1]) : undefined;
    const found = integers(matrix, {
      bits,
      block,
      isSymmetric,
      isUnsigned: false,
      scaleDType,
      ...(order && { groupOf: (column) => order[column] }),
    });
    const { grid, codes, zeros, scales, values } = found;
    const scale = raw(`${layer}.weight_scale`, scaleDType, [grid.rows, grid.columns], bytesAll(scales));
    const index = order ? [words(`${layer}.weight_g_idx`, [matrix.columns], order)] : [];
    if (!options.isPacked) {
      const zero = raw(`${layer}.weight_zero_point`, 'I8', [grid.rows, grid.columns], Int8Array.from(zeros));
      return {
        values,
        tensors: [
          raw(`${layer}.weight`, 'I8', [matrix.rows, matrix.columns], bytesOf(Int8Array.from(codes))),
          scale,
          ...index,
          ...(isSymmetric ? [] : [{ ...zero, bytes: bytesOf(Int8Array.from(zeros)) }]),
        ],
      };
    }
    const pack = options.hasWholeWords ? wholeWords : stream;
    const offset = 2 ** (bits - 1);
    const packed = rowsOf(codes, matrix.columns).map((row) =>
      pack(
        row.map((code) => code + offset),
        bits,
      ),
    );
    const zeroWords = columnsOf(Float64Array.from(zeros), grid.columns).map((column) =>
      pack(
        column.map((zero) => zero + offset),
        bits,
      ),
    );
    return {
      values,
      tensors: [
        words(`${layer}.weight_packed`, [matrix.rows, packed[0].length], joined(packed)),
        scale,
        {
          name: `${layer}.weight_shape`,
          dtype: 'I64',
          shape: [2],
          bytes: bytesOf(BigInt64Array.of(BigInt(matrix.rows), BigInt(matrix.columns))),
        },
        ...index,
        ...(isSymmetric
          ? []
          : [words(`${layer}.weight_zero_point`, [zeroWords[0].length, grid.columns], interleaved(zeroWords))]),
      ],
    };
  };
}

/** Groups of columns that were sorted by something else than their place. */
function shuffledGroups(columns: number, size: number): Uint32Array {
  const next = random(columns);
  const groups = Uint32Array.from({ length: columns }, (_, column) => Math.floor(column / size));
  for (let i = columns - 1; i > 0; i--) {
    const other = Math.floor(next() * (i + 1));
    [groups[i], groups[other]] = [groups[other], groups[i]];
  }
  return groups;
}

export function gptq(options: {
  readonly bits: number;
  readonly groupSize: number;
  readonly isSecondVersion?: boolean;
  readonly isReordered?: boolean;
}): Packer {
  return (layer, matrix) => {
    const { bits } = options;
    const groupSize = Math.min(options.groupSize, matrix.columns);
    const order = options.isReordered
      ? shuffledGroups(matrix.columns, groupSize)
      : Uint32Array.from({ length: matrix.columns }, (_, column) => Math.floor(column / groupSize));
    const { grid, codes, zeros, scales, values } = integers(matrix, {
      bits,
      block: [1, groupSize],
      isSymmetric: false,
      isUnsigned: true,
      scaleDType: 'F16',
      groupOf: (column) => order[column],
    });
    const lessOne = options.isSecondVersion ? 0 : 1;
    const mask = 2 ** bits - 1;
    const scaleColumns = Array.from({ length: grid.columns }, (_, group) =>
      Array.from({ length: matrix.rows }, (_, row) => scales[row * grid.columns + group]),
    );
    const zeroRows = columnsOf(Float64Array.from(zeros), grid.columns);
    return {
      values,
      tensors: [
        words(
          `${layer}.qweight`,
          [(matrix.columns * bits) / 32, matrix.rows],
          interleaved(rowsOf(codes, matrix.columns).map((row) => stream(row, bits))),
        ),
        words(
          `${layer}.qzeros`,
          [grid.columns, (matrix.rows * bits) / 32],
          joined(
            zeroRows.map((row) =>
              stream(
                row.map((zero) => (zero - lessOne) & mask),
                bits,
              ),
            ),
          ),
        ),
        raw(`${layer}.scales`, 'F16', [grid.columns, matrix.rows], bytesAll(scaleColumns.flat())),
        words(`${layer}.g_idx`, [matrix.columns], order),
      ],
    };
  };
}

export function awq({ groupSize }: { readonly groupSize: number }): Packer {
  return (layer, matrix) => {
    const { grid, codes, zeros, scales, values } = integers(matrix, {
      bits: 4,
      block: [1, groupSize],
      isSymmetric: false,
      isUnsigned: true,
      scaleDType: 'F16',
    });
    // Of eight consecutive outputs, the one whose code is at each place of a word.
    const order = [0, 2, 4, 6, 1, 3, 5, 7];
    const pack = (lists: readonly number[][]) =>
      joined(
        lists.map((list) =>
          stream(
            list.map((_, i) => list[i - (i % 8) + order[i % 8]]),
            4,
          ),
        ),
      );
    const scaleColumns = Array.from({ length: grid.columns }, (_, group) =>
      Array.from({ length: matrix.rows }, (_, row) => scales[row * grid.columns + group]),
    );
    return {
      values,
      tensors: [
        words(`${layer}.qweight`, [matrix.columns, matrix.rows / 8], pack(columnsOf(codes, matrix.columns))),
        words(
          `${layer}.qzeros`,
          [grid.columns, matrix.rows / 8],
          pack(columnsOf(Float64Array.from(zeros), grid.columns)),
        ),
        raw(`${layer}.scales`, 'F16', [grid.columns, matrix.rows], bytesAll(scaleColumns.flat())),
      ],
    };
  };
}

/** MLX's affine mode: code * scale + bias. */
export function mlxAffine({
  bits,
  groupSize,
  dtype = 'BF16',
}: {
  bits: number;
  groupSize: number;
  dtype?: 'F32' | 'BF16' | 'F16';
}): Packer {
  return (layer, matrix) => {
    const grid = gridOf(matrix, 1, groupSize);
    const found = extremes(matrix, grid);
    const high = 2 ** bits - 1;
    const scales = found.map(({ least, largest }) => encode((1.01 * (largest - least)) / high || 1e-3, dtype));
    const biases = found.map(({ least }) => encode(least, dtype));
    const codes = fill(matrix, (row, column) => {
      const at = grid.of(row, column);
      const code = Math.round((matrix.data[row * matrix.columns + column] - biases[at].value) / scales[at].value);
      return Math.min(high, Math.max(0, code));
    });
    return {
      values: fill(matrix, (row, column) => {
        const at = grid.of(row, column);
        return codes[row * matrix.columns + column] * scales[at].value + biases[at].value;
      }),
      tensors: [
        words(
          `${layer}.weight`,
          [matrix.rows, (matrix.columns * bits) / 32],
          joined(rowsOf(codes, matrix.columns).map((row) => stream(row, bits))),
          'U32',
        ),
        raw(`${layer}.scales`, dtype, [grid.rows, grid.columns], bytesAll(scales)),
        raw(`${layer}.biases`, dtype, [grid.rows, grid.columns], bytesAll(biases)),
      ],
    };
  };
}

/** bitsandbytes in 4 bits: blocks of the matrix as one long row, whose scales may be codes themselves. */
export function bnb4(options: {
  readonly type: 'nf4' | 'fp4';
  readonly blockSize: number;
  readonly isDouble: boolean;
}): Packer {
  return (layer, matrix) => {
    const { type, blockSize, isDouble } = options;
    const count = matrix.rows * matrix.columns;
    const next = random(7);
    const table = Array.from({ length: 16 }, (_, code) =>
      encode(
        type === 'nf4'
          ? (code - 7) / 8 + next() / 100
          : (code & 8 ? -1 : 1) * [0, 0.0052, 2 / 3, 1, 1 / 3, 1 / 2, 1 / 6, 1 / 4][code & 7],
        'F32',
      ),
    );
    const levels = table.map(({ value }) => value);
    const magnitudes = Array.from({ length: Math.ceil(count / blockSize) }, (_, block) => {
      const own = Array.from(
        { length: Math.min(blockSize, count - block * blockSize) },
        (_, i) => matrix.data[block * blockSize + i],
      );
      return Math.max(...own.map(Math.abs), 1e-6);
    });
    const nestedSize = 4;
    const offset = encode(magnitudes.reduce((sum, value) => sum + value, 0) / magnitudes.length, 'F32').value;
    const nestedTable = Array.from({ length: 256 }, (_, code) => encode((code - 127) / 128, 'F32'));
    const nestedScales = Array.from({ length: Math.ceil(magnitudes.length / nestedSize) }, (_, block) =>
      encode(
        Math.max(
          ...magnitudes.slice(block * nestedSize, (block + 1) * nestedSize).map((value) => Math.abs(value - offset)),
        ) *
          1.1 +
          1e-9,
        'F32',
      ),
    );
    const nestedCodes = magnitudes.map((value, i) =>
      nearestCode(
        nestedTable.map((entry) => entry.value),
        (value - offset) / nestedScales[Math.floor(i / nestedSize)].value,
      ),
    );
    const plain = magnitudes.map((value) => encode(value, 'F32'));
    const scales = isDouble
      ? nestedCodes.map((code, i) => nestedTable[code].value * nestedScales[Math.floor(i / nestedSize)].value + offset)
      : plain.map(({ value }) => value);
    const codes = Float64Array.from({ length: count }, (_, i) =>
      nearestCode(levels, matrix.data[i] / scales[Math.floor(i / blockSize)]),
    );
    const packed = Uint8Array.from(
      { length: Math.ceil(count / 2) },
      (_, i) => codes[2 * i] * 16 + (codes[2 * i + 1] ?? 0),
    );
    const state = {
      quant_type: type,
      blocksize: blockSize,
      dtype: 'float32',
      shape: [matrix.rows, matrix.columns],
      ...(isDouble && { nested_blocksize: nestedSize, nested_dtype: 'float32', nested_offset: offset }),
    };
    const text = new TextEncoder().encode(JSON.stringify(state));
    const weight = `${layer}.weight`;
    return {
      values: Float64Array.from(codes, (code, i) => levels[code] * scales[Math.floor(i / blockSize)]),
      tensors: [
        raw(weight, 'U8', [packed.length, 1], packed),
        raw(`${weight}.quant_map`, 'F32', [16], bytesAll(table)),
        raw(`${weight}.quant_state.bitsandbytes__${type}`, 'U8', [text.length], text),
        ...(isDouble
          ? [
              raw(`${weight}.absmax`, 'U8', [nestedCodes.length], nestedCodes),
              raw(`${weight}.nested_absmax`, 'F32', [nestedScales.length], bytesAll(nestedScales)),
              raw(`${weight}.nested_quant_map`, 'F32', [256], bytesAll(nestedTable)),
            ]
          : [raw(`${weight}.absmax`, 'F32', [plain.length], bytesAll(plain))]),
      ],
    };
  };
}

/** bitsandbytes in 8 bits: the largest magnitude of a row is 127. */
export const bnb8: Packer = (layer, matrix) => {
  const grid = gridOf(matrix, 1, Infinity);
  const largest = extremes(matrix, grid).map(({ magnitude }) => encode(magnitude, 'F32'));
  const codes = fill(matrix, (row, column) =>
    Math.round((127 * matrix.data[row * matrix.columns + column]) / (largest[row].value || 1)),
  );
  return {
    values: fill(matrix, (row, column) => (codes[row * matrix.columns + column] * largest[row].value) / 127),
    tensors: [
      raw(`${layer}.weight`, 'I8', [matrix.rows, matrix.columns], bytesOf(Int8Array.from(codes))),
      raw(`${layer}.SCB`, 'F32', [matrix.rows], bytesAll(largest)),
      raw(`${layer}.weight_format`, 'U8', [], [0]),
    ],
  };
};

/** A scalar that says how activations are quantised. */
export function inputScale(layer: string): RawTensor[] {
  return [raw(`${layer}.input_scale`, 'F32', [], encode(0.5, 'F32').bytes)];
}

/** Packs a matrix, or each of a stack, whose tensors then get one more dimension. */
export function packed(
  pack: Packer,
  layer: string,
  { shape, data }: Weight,
): { tensors: RawTensor[]; values: Float32Array } {
  const [rows, columns] = shape.slice(-2);
  const count = shape.length === 3 ? shape[0] : 1;
  const parts = Array.from({ length: count }, (_, i) =>
    pack(layer, { rows, columns, data: data.subarray(i * rows * columns, (i + 1) * rows * columns) }),
  );
  const values = Float32Array.from(parts.flatMap((part) => [...part.values]));
  if (shape.length === 2) return { tensors: [...parts[0].tensors], values };
  const tensors = parts[0].tensors.map((tensor, t) =>
    tensor.name.endsWith('.weight_shape')
      ? { ...tensor, shape: [3], bytes: bytesOf(BigInt64Array.from(shape, BigInt)) }
      : {
          ...tensor,
          shape: [count, ...tensor.shape],
          bytes: Uint8Array.from(parts.flatMap((part) => [...part.tensors[t].bytes])),
        },
  );
  return { tensors, values };
}

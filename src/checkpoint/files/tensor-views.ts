import { type Mamba2Error, WeightShapeError } from '../../errors.ts';
import { blockRowBytes } from '../../tensor/block-formats.ts';
import { joinBytes } from '../../util/join-bytes.ts';
import { bytesFor } from './byte-source.ts';
import type { ReadScratch } from './read-scratch.ts';
import { type RowRange, resolveRows } from './row-range.ts';
import type { StoredBlocks, StoredTensor } from './stored-tensor.ts';

/**
 * Tensors that are made of stored ones: under another shape, one after the other, in another order of rows. Nothing is
 * copied before it is read, and only rows that are asked for are read, with at most their neighbours in a block.
 */

const CONVERTED_WRONGLY = 'The file is damaged or was converted wrongly; get another one.';

/** Size of one row in values. */
function rowValues(shape: readonly number[]): number {
  return shape.slice(1).reduce((product, size) => product * size, 1);
}

/** The part of a view that all kinds share: what is true of the tensors that it is made of. */
function made(shape: readonly number[], parts: readonly StoredTensor[]) {
  const [{ file }] = parts;
  const problem: Mamba2Error | undefined = parts.find((part) => part.problem !== undefined)?.problem;
  return {
    dtype: [...new Set(parts.map(({ dtype }) => dtype))].join('+'),
    shape,
    file,
    byteLength: parts.reduce((sum, { byteLength }) => sum + byteLength, 0),
    isSequential: parts.some(({ isSequential }) => isSequential),
    problem,
    release: () => {
      for (const part of parts) part.release?.();
    },
  };
}

/** The format that all parts have their blocks in, if they have one. */
function sameBlocks(parts: readonly StoredTensor[]): readonly StoredBlocks[] | undefined {
  const blocks = parts.flatMap((part) => part.blocks ?? []);
  return blocks.length === parts.length && blocks.every(({ format }) => format === blocks[0].format)
    ? blocks
    : undefined;
}

/** A tensor's values, row-major, under another shape. */
export function reshaped(tensor: StoredTensor, shape: readonly number[]): StoredTensor {
  const [from, to] = [rowValues(tensor.shape), rowValues(shape)];
  const source = (range: RowRange) => {
    const { firstRow, rows } = resolveRows('a tensor', shape, range);
    const [begin, end] = [firstRow * to, (firstRow + rows) * to];
    const first = Math.floor(begin / from);
    return {
      range: { firstRow: first, rows: Math.ceil(end / from) - first },
      begin: begin - first * from,
      end: end - first * from,
    };
  };
  const bytesOf = async (read: StoredTensor['readBytes'], range: RowRange) => {
    const { range: stored, begin, end } = source(range);
    const bytes = await read(stored);
    const perValue = bytes.length / (stored.rows * from);
    return bytes.slice(begin * perValue, end * perValue);
  };
  const { blocks } = tensor;
  // Blocks do not go beyond the end of a row of their own.
  const areKept = shape.length > 1 && shape[shape.length - 1] === tensor.shape[tensor.shape.length - 1];
  return {
    ...made(shape, [tensor]),
    async readFloat32(range: RowRange = {}, scratch?: ReadScratch): Promise<Float32Array> {
      const { range: stored, begin, end } = source(range);
      return (await tensor.readFloat32(stored, scratch)).subarray(begin, end);
    },
    readBytes: async (range = {}) => bytesOf(async (own) => tensor.readBytes(own), range),
    blocks: areKept ? blocks && { ...blocks, read: async (range = {}) => bytesOf(blocks.read, range) } : undefined,
  };
}

/**
 * Some of the rows, as a tensor of their own.
 * @throws WeightShapeError when the tensor does not have them.
 */
export function rowsOf(tensor: StoredTensor, firstRow: number, rows: number): StoredTensor {
  if (!(firstRow + rows <= tensor.shape[0])) {
    throw new WeightShapeError(
      `A tensor of the shape [${tensor.shape}] in '${tensor.file}' should have ${firstRow + rows} rows.`,
      CONVERTED_WRONGLY,
    );
  }
  const shape = [rows, ...tensor.shape.slice(1)];
  const source = (range: RowRange) => {
    const taken = resolveRows('a tensor', shape, range);
    return { firstRow: firstRow + taken.firstRow, rows: taken.rows };
  };
  const { blocks } = tensor;
  return {
    ...made(shape, [tensor]),
    byteLength: (tensor.byteLength / tensor.shape[0]) * rows,
    blocks: blocks && { ...blocks, read: async (range = {}, scratch) => blocks.read(source(range), scratch) },
    readFloat32: async (range = {}, scratch) => tensor.readFloat32(source(range), scratch),
    readBytes: async (range = {}, scratch) => tensor.readBytes(source(range), scratch),
  };
}

/**
 * The rows of several tensors, those of one after those of the other: gate and up of a feed-forward layer.
 * @throws WeightShapeError when their rows have different shapes.
 */
export function stacked(parts: readonly StoredTensor[]): StoredTensor {
  const [first] = parts;
  assertAlike(parts, ({ shape }) => shape.slice(1));
  const counts = parts.map(({ shape }) => shape[0]);
  const shape = [counts.reduce((sum, count) => sum + count, 0), ...first.shape.slice(1)];
  /** What a range takes of each part. */
  const runs = (range: RowRange) => {
    const { firstRow, rows } = resolveRows('a tensor', shape, range);
    let before = 0;
    return parts.flatMap((_, i) => {
      const begin = Math.max(firstRow - before, 0);
      const end = Math.min(firstRow + rows - before, counts[i]);
      before += counts[i];
      return end > begin ? [{ part: i, range: { firstRow: begin, rows: end - begin } }] : [];
    });
  };
  const bytesOf = async (range: RowRange, read: (part: number, range: RowRange) => Promise<Uint8Array>) => {
    const pieces: Uint8Array[] = [];
    for (const run of runs(range)) pieces.push(await read(run.part, run.range));
    return joinBytes(pieces);
  };
  const blocks = sameBlocks(parts);
  return {
    ...made(shape, parts),
    async readFloat32(range: RowRange = {}, scratch?: ReadScratch): Promise<Float32Array> {
      const taken = runs(range);
      if (taken.length === 1) return parts[taken[0].part].readFloat32(taken[0].range, scratch);
      const size = rowValues(shape);
      const out = new Float32Array(taken.reduce((sum, run) => sum + run.range.rows, 0) * size);
      let filled = 0;
      for (const run of taken) {
        out.set(await parts[run.part].readFloat32(run.range, scratch), filled);
        filled += run.range.rows * size;
      }
      return out;
    },
    readBytes: async (range = {}) => bytesOf(range, async (part, own) => parts[part].readBytes(own)),
    blocks: blocks && {
      format: blocks[0].format,
      read: async (range = {}) => bytesOf(range, async (part, own) => blocks[part].read(own)),
    },
  };
}

/**
 * Stacks of matrices, (n, rows, columns) each, whose n-th matrices are one: the experts' gates and ups.
 * @throws WeightShapeError when the stacks have different heights, or the matrices rows of different sizes.
 */
export function stackedPerMatrix(parts: readonly StoredTensor[]): StoredTensor {
  const [first] = parts;
  assertAlike(parts, ({ shape: [count, , ...inner] }) => [count, ...inner]);
  const [count, , ...inner] = first.shape;
  const shape = [count, parts.reduce((sum, part) => sum + part.shape[1], 0), ...inner];
  const sizes = parts.map((part) => rowValues(part.shape));
  const size = rowValues(shape);
  const blocks = sameBlocks(parts);
  return {
    ...made(shape, parts),
    async readFloat32(range: RowRange = {}, scratch?: ReadScratch): Promise<Float32Array> {
      const { firstRow, rows } = resolveRows('a tensor', shape, range);
      const out = new Float32Array(rows * size);
      let before = 0;
      for (const [i, part] of parts.entries()) {
        const values = await part.readFloat32({ firstRow, rows }, scratch);
        for (let n = 0; n < rows; n++) {
          out.set(values.subarray(n * sizes[i], (n + 1) * sizes[i]), n * size + before);
        }
        before += sizes[i];
      }
      return out;
    },
    async readBytes(range = {}) {
      const { firstRow, rows } = resolveRows('a tensor', shape, range);
      const pieces: Uint8Array[] = [];
      for (let n = firstRow; n < firstRow + rows; n++) {
        for (const part of parts) pieces.push(await part.readBytes({ firstRow: n, rows: 1 }));
      }
      return joinBytes(pieces);
    },
    blocks: blocks && {
      format: blocks[0].format,
      read: async (range = {}, scratch) => {
        const { firstRow, rows } = resolveRows('a tensor', shape, range);
        const out = bytesFor(blockRowBytes(blocks[0].format, rows * size), scratch?.bytes);
        let filled = 0;
        for (let n = firstRow; n < firstRow + rows; n++) {
          for (const { read } of blocks) {
            const matrix = await read({ firstRow: n, rows: 1 }, scratch?.inner);
            out.set(matrix, filled);
            filled += matrix.length;
          }
        }
        return out;
      },
    },
  };
}

/**
 * The rows in another order. Rows that are neighbours here should be near each other there: all that lies between them
 * is read.
 * @param sourceRow the stored row that comes as a row of the view.
 */
export function reordered(tensor: StoredTensor, sourceRow: (row: number) => number): StoredTensor {
  const source = (range: RowRange) => {
    const { firstRow, rows } = resolveRows('a tensor', tensor.shape, range);
    const taken = Array.from({ length: rows }, (_, i) => sourceRow(firstRow + i));
    const begin = taken.reduce((least, row) => Math.min(least, row), tensor.shape[0]);
    const end = taken.reduce((most, row) => Math.max(most, row + 1), begin);
    return { places: taken.map((row) => row - begin), range: { firstRow: begin, rows: end - begin } };
  };
  const bytesOf = async (range: RowRange, read: (range: RowRange) => Promise<Uint8Array>) => {
    const { places, range: stored } = source(range);
    const bytes = await read(stored);
    const size = stored.rows === 0 ? 0 : bytes.length / stored.rows;
    return joinBytes(places.map((place) => bytes.subarray(place * size, (place + 1) * size)));
  };
  const { blocks } = tensor;
  return {
    ...made(tensor.shape, [tensor]),
    async readFloat32(range: RowRange = {}, scratch?: ReadScratch): Promise<Float32Array> {
      const { places, range: stored } = source(range);
      const size = rowValues(tensor.shape);
      const out = new Float32Array(places.length * size);
      const values = await tensor.readFloat32(stored, scratch);
      for (const [i, place] of places.entries()) {
        out.set(values.subarray(place * size, (place + 1) * size), i * size);
      }
      return out;
    },
    readBytes: async (range = {}) => bytesOf(range, async (own) => tensor.readBytes(own)),
    blocks: blocks && { ...blocks, read: async (range = {}) => bytesOf(range, blocks.read) },
  };
}

function assertAlike(parts: readonly StoredTensor[], aspect: (part: StoredTensor) => readonly number[]): void {
  if (new Set(parts.map((part) => aspect(part).join())).size === 1) return;
  const shapes = parts.map(({ shape }) => `[${shape}]`).join(' and ');
  throw new WeightShapeError(
    `Tensors of the shapes ${shapes} in '${parts[0].file}' make one weight, but do not fit each other.`,
    CONVERTED_WRONGLY,
  );
}

import { describe, expect, test } from 'vitest';
import type { StoredBlocks, StoredTensor } from '../../src/checkpoint/files/stored-tensor.ts';
import { reordered, reshaped, rowsOf, stacked, stackedPerMatrix } from '../../src/checkpoint/files/tensor-views.ts';
import { WeightShapeError } from '../../src/errors.ts';
import { blockValues, someBlocks } from '../tensor/blocks.ts';
import { MadeTensor } from './gguf/made-gguf.ts';

const whole = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);

/** That every range of rows is what lies there in the whole, as values and as bytes. */
async function expectRows(view: StoredTensor, values: readonly number[]): Promise<void> {
  expect([...(await view.readFloat32())]).toEqual(values);
  expect(whole(view.shape)).toBe(values.length);
  const [count] = view.shape;
  const size = values.length / count;
  for (let firstRow = 0; firstRow <= count; firstRow++) {
    for (let rows = 0; firstRow + rows <= count; rows++) {
      const expected = values.slice(firstRow * size, (firstRow + rows) * size);
      expect([...(await view.readFloat32({ firstRow, rows }))]).toEqual(expected);
      const bytes = await view.readBytes({ firstRow, rows });
      expect([...new Float32Array(bytes.buffer)]).toEqual(expected);
    }
  }
  await expect(view.readFloat32({ firstRow: count, rows: 1 })).rejects.toThrow("Can't read");
}

describe('reshaped', () => {
  test.each([
    { from: [6, 4], to: [6, 1, 4] },
    { from: [8, 1], to: [8] },
    { from: [3, 4], to: [12] },
    { from: [12], to: [3, 4] },
    { from: [4, 6], to: [3, 8] },
  ])('$from as $to', async ({ from, to }) => {
    const tensor = new MadeTensor(from);
    await expectRows(reshaped(tensor, to), [...tensor.values]);
  });

  test('reads no more rows than it needs', async () => {
    const tensor = new MadeTensor([3, 4]);
    await reshaped(tensor, [12]).readFloat32({ firstRow: 5, rows: 2 });
    expect(tensor.reads).toEqual([{ firstRow: 1, rows: 1 }]);
  });
});

describe('stacked', () => {
  test('the rows of the parts, one after the other', async () => {
    const parts = [new MadeTensor([3, 2]), new MadeTensor([1, 2], 50), new MadeTensor([2, 2], 100)];
    await expectRows(stacked(parts), [0, 1, 2, 3, 4, 5, 50, 51, 100, 101, 102, 103]);
  });

  test('reads only the part that has the rows', async () => {
    const [gate, up] = [new MadeTensor([3, 2]), new MadeTensor([3, 2], 50, 'Q6_K')];
    const view = stacked([gate, up]);
    await view.readFloat32({ firstRow: 4, rows: 1 });
    expect([gate.reads, up.reads]).toEqual([[], [{ firstRow: 1, rows: 1 }]]);
    expect(view.dtype).toBe('F32+Q6_K');
    expect(view.byteLength).toBe(48);
  });

  test('rows of different sizes make no tensor', () => {
    expect(() => stacked([new MadeTensor([3, 2]), new MadeTensor([3, 4])])).toThrow(WeightShapeError);
  });
});

test('stackedPerMatrix: each matrix of one on that of the other', async () => {
  const view = stackedPerMatrix([new MadeTensor([2, 1, 3]), new MadeTensor([2, 2, 3], 100)]);
  expect(view.shape).toEqual([2, 3, 3]);
  await expectRows(view, [0, 1, 2, 100, 101, 102, 103, 104, 105, 3, 4, 5, 106, 107, 108, 109, 110, 111]);
  expect(() => stackedPerMatrix([new MadeTensor([2, 1, 3]), new MadeTensor([3, 1, 3])])).toThrow(WeightShapeError);
});

test('reordered: rows from where they lie, and only what lies between them is read', async () => {
  const order = [2, 0, 1, 5, 3, 4];
  const tensor = new MadeTensor([6, 2]);
  const view = reordered(tensor, (row) => order[row]);
  await expectRows(
    view,
    order.flatMap((row) => [2 * row, 2 * row + 1]),
  );
  tensor.reads.length = 0;
  await view.readFloat32({ firstRow: 4, rows: 2 });
  expect(tensor.reads).toEqual([{ firstRow: 3, rows: 2 }]);
});

test('rowsOf: a part of the rows', async () => {
  const view = rowsOf(new MadeTensor([6, 2]), 2, 3);
  expect(view.byteLength).toBe(24);
  expect(() => rowsOf(new MadeTensor([6, 2]), 4, 3)).toThrow(WeightShapeError);
  await expectRows(view, [4, 5, 6, 7, 8, 9]);
});

describe('blocks of a view', () => {
  const format = 'INT8_G128';

  /** A tensor with blocks, whose floats are what these stand for. */
  function inBlocks(shape: readonly number[], seed: number): StoredTensor {
    const columns = shape[shape.length - 1];
    const bytes = someBlocks(format, whole(shape) / columns, columns, seed);
    const tensor = new MadeTensor(shape);
    tensor.values.set(blockValues(format, bytes));
    const rowBytes = bytes.length / shape[0];
    const read: StoredBlocks['read'] = async ({ firstRow = 0, rows = shape[0] - firstRow } = {}) =>
      bytes.slice(firstRow * rowBytes, (firstRow + rows) * rowBytes);
    return Object.assign(tensor, { blocks: { format, read } as const });
  }

  const order = [2, 0, 1, 5, 3, 4];
  const views: Record<string, StoredTensor> = {
    rowsOf: rowsOf(inBlocks([6, 256], 1), 2, 3),
    stacked: stacked([inBlocks([2, 128], 1), inBlocks([1, 128], 2), inBlocks([3, 128], 3)]),
    stackedPerMatrix: stackedPerMatrix([inBlocks([3, 2, 128], 1), inBlocks([3, 1, 128], 2)]),
    reordered: reordered(inBlocks([6, 128], 1), (row) => order[row]),
    'a matrix of a stack': reshaped(rowsOf(inBlocks([4, 3, 128], 1), 2, 1), [3, 128]),
    'a stack as a matrix': reshaped(inBlocks([2, 3, 128], 1), [6, 128]),
  };

  test.each(Object.entries(views))('%s: those of its rows', async (_, view) => {
    expect(view.blocks?.format).toBe(format);
    const [count] = view.shape;
    for (let firstRow = 0; firstRow < count; firstRow++) {
      for (let rows = 0; firstRow + rows <= count; rows++) {
        const bytes = (await view.blocks?.read({ firstRow, rows })) ?? new Uint8Array();
        expect(blockValues(format, bytes)).toEqual(await view.readFloat32({ firstRow, rows }));
      }
    }
    const bytes = (await view.blocks?.read()) ?? new Uint8Array();
    expect(blockValues(format, bytes)).toEqual(await view.readFloat32());
  });

  test('parts without blocks, rows of another length and lists have none', () => {
    expect(stacked([inBlocks([2, 128], 1), new MadeTensor([2, 128])]).blocks).toBeUndefined();
    expect(stackedPerMatrix([inBlocks([2, 1, 128], 1), new MadeTensor([2, 1, 128])]).blocks).toBeUndefined();
    expect(reshaped(inBlocks([2, 256], 1), [4, 128]).blocks).toBeUndefined();
    expect(reshaped(inBlocks([2, 128], 1), [256]).blocks).toBeUndefined();
    expect(reordered(new MadeTensor([2, 128]), (row) => 1 - row).blocks).toBeUndefined();
  });
});

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { memorySource } from '../../src/checkpoint/files/byte-source.ts';
import { openFile } from '../../src/checkpoint/files/file-source.ts';
import { SafetensorsFile } from '../../src/checkpoint/safetensors/safetensors.ts';
import { type TensorToWrite, writeSafetensors } from '../../src/checkpoint/safetensors/safetensors-writer.ts';
import {
  ArgumentError,
  DisposedError,
  MissingTensorError,
  ModelNotFoundError,
  SafetensorsError,
  WeightDTypeError,
} from '../../src/errors.ts';
import { roundToBfloat16, roundToFloat16 } from '../../src/tensor/float16.ts';
import { runs } from '../runs.ts';
import { makeFolder } from './folders.ts';

const values = Float32Array.of(0, -0, 1, -1.5, 0.1, 1e-7, 3e-5, 6.1e-5, 65504, 1e38, Infinity, NaN);

function open(bytes: Uint8Array): Promise<SafetensorsFile> {
  return SafetensorsFile.open(memorySource('test.safetensors', bytes));
}

/** A file with this header text and `dataBytes` zeros after it. */
function fileOf(header: string | Uint8Array, dataBytes = 0, claimed?: bigint): Uint8Array {
  const json = typeof header === 'string' ? new TextEncoder().encode(header) : header;
  const bytes = new Uint8Array(8 + json.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, claimed ?? BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

function headerOf(entries: Record<string, unknown>, dataBytes: number): Uint8Array {
  return fileOf(JSON.stringify(entries), dataBytes);
}

const tensor = (begin: number, end: number, shape: unknown = [(end - begin) / 4], dtype: unknown = 'F32') => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

describe('reading', () => {
  test.each([
    ['F32', (value: number) => Math.fround(value)],
    ['BF16', roundToBfloat16],
    ['F16', roundToFloat16],
  ] as const)('round-trips %s', async (dtype, round) => {
    const file = await open(writeSafetensors([{ name: 'x', dtype, shape: [3, 4], data: values }]));
    expect(await file.readFloat32('x')).toEqual(values.map(round));
    expect(file.tensors.get('x')).toMatchObject({ name: 'x', dtype, shape: [3, 4], begin: 0 });
  });

  test('round-trips every float16 number', async () => {
    const numbers = Float32Array.from({ length: 0x7c00 }, (_, bits) =>
      bits < 1024 ? bits * 2 ** -24 : (1 + (bits % 1024) / 1024) * 2 ** ((bits >> 10) - 15),
    );
    const file = await open(writeSafetensors([{ name: 'x', dtype: 'F16', shape: [0x7c00], data: numbers }]));
    expect(await file.readFloat32('x')).toEqual(numbers);
  });

  test('reads F64, rounded', async () => {
    const bytes = headerOf({ x: tensor(0, 16, [2], 'F64') }, 16);
    new DataView(bytes.buffer).setFloat64(bytes.length - 8, 0.1, true);
    expect(await (await open(bytes)).readFloat32('x')).toEqual(Float32Array.of(0, 0.1));
  });

  test('reads rows, and only their bytes', async () => {
    const data = Float32Array.from({ length: 12 }, (_, i) => i);
    const source = memorySource('rows', writeSafetensors([{ name: 'x', dtype: 'F32', shape: [4, 3], data }]));
    const lengths: number[] = [];
    const file = await SafetensorsFile.open({
      ...source,
      read: (offset, length) => {
        lengths.push(length);
        return source.read(offset, length);
      },
    });
    expect(await file.readFloat32('x', { firstRow: 1, rows: 2 })).toEqual(data.slice(3, 9));
    expect(lengths.at(-1)).toBe(24);
    expect(await file.readFloat32('x', { firstRow: 3 })).toEqual(data.slice(9));
    expect(await file.readFloat32('x', { firstRow: 4 })).toHaveLength(0);
    for (const range of [{ firstRow: -1 }, { firstRow: 5 }, { rows: 5 }, { firstRow: 3, rows: 2 }, { rows: 1.5 }]) {
      await expect(file.readFloat32('x', range)).rejects.toThrow(ArgumentError);
    }
  });

  test('reads scalars and empty tensors, in any order of names', async () => {
    const bytes = headerOf({ b: tensor(4, 4, [0, 5]), a: tensor(0, 4, []), __metadata__: { format: 'pt' } }, 4);
    const file = await open(bytes);
    expect([...file.tensors.keys()]).toEqual(['a', 'b']);
    expect(file.metadata).toEqual({ format: 'pt' });
    expect(await file.readFloat32('a')).toEqual(Float32Array.of(0));
    expect(await file.readFloat32('b')).toHaveLength(0);
  });

  test('lists dtypes that it can not read as floats', async () => {
    const file = await open(headerOf({ i: tensor(0, 8, [1], 'I64'), p: tensor(8, 11, [4], 'F6_E2M3') }, 11));
    expect(file.tensors.get('i')?.dtype).toBe('I64');
    await expect(file.readFloat32('i')).rejects.toThrow(WeightDTypeError);
    await expect(file.readFloat32('p')).rejects.toThrow(/F6_E2M3/);
    await expect(file.readFloat32('q')).rejects.toThrow(MissingTensorError);
  });

  test('takes any string as a name', async () => {
    const names = ['__proto__', 'constructor', '12', '', 'ключ'];
    const tensors = names.map((name, i) => ({ name, dtype: 'F32' as const, shape: [1], data: Float32Array.of(i) }));
    const file = await open(writeSafetensors(tensors, { ['__proto__']: 'kept' }));
    expect([...file.tensors.keys()]).toEqual(names);
    expect(await file.readFloat32('__proto__')).toEqual(Float32Array.of(0));
    expect(Object.hasOwn(file.metadata, '__proto__')).toBe(true);
    expect(Object.getPrototypeOf(file.metadata)).toBe(Object.prototype);
  });

  test('reads the bundled model from disk', async () => {
    const path = new URL('../../models/tiny-dts/model.safetensors', import.meta.url).pathname;
    const file = await SafetensorsFile.open(await openFile(path));
    const name = [...file.tensors.keys()][0];
    const row = await file.readFloat32(name, { rows: 1 });
    expect((await file.readFloat32(name)).slice(0, row.length)).toEqual(row);
    expect(row.every(Number.isFinite)).toBe(true);
    await file.close();
    await file.close();
    await expect(file.readFloat32(name)).rejects.toThrow(DisposedError);
  });
});

describe('files', () => {
  test('gives aligned bytes and checks ranges', async () => {
    const folder = await makeFolder({ data: Uint8Array.of(1, 2, 3, 4) });
    const source = await openFile(`${folder}/data`);
    const bytes = await source.read(1, 3);
    expect([bytes.byteOffset, ...bytes]).toEqual([0, 2, 3, 4]);
    for (const [offset, length] of [
      [0, 5],
      [-1, 1],
      [5, 0],
      [0.5, 1],
      [0, Number.NaN],
    ]) {
      await expect(source.read(offset, length)).rejects.toThrow(ArgumentError);
    }
    await source.close();
    await expect(openFile(`${folder}/none`)).rejects.toThrow(ModelNotFoundError);
    await expect(openFile(folder)).rejects.toThrow(ModelNotFoundError);
  });

  test('notices that a file becomes shorter', async () => {
    const folder = await makeFolder({ data: new Uint8Array(100) });
    const source = await openFile(`${folder}/data`);
    const { truncate } = await import('node:fs/promises');
    await truncate(`${folder}/data`, 50);
    await expect(source.read(0, 100)).rejects.toThrow(/ended at byte 50/);
    await source.close();
  });
});

describe('malformed files', () => {
  const good = tensor(0, 4);
  const cases: [string, Uint8Array, RegExp][] = [
    ['no length', new Uint8Array(7), /7 bytes/],
    ['a huge header', fileOf('{}', 0, 1n << 62n), /more than the 100000000/],
    ['a header over the limit', fileOf('{}', 0, 100_000_001n), /more than/],
    ['a header over the file', fileOf('{}', 10, 13n), /only 12 follow/],
    ['an empty header', fileOf(''), /must start with '\{'/],
    ['a header that is not UTF-8', fileOf(Uint8Array.of(0x7b, 0xff, 0x7d)), /not UTF-8/],
    ['a header that is not JSON', fileOf('{"a": }'), /not valid JSON/],
    ['a header with NaN', fileOf('{"a": NaN}'), /not valid JSON/],
    ['a list', fileOf('[]'), /must start with/],
    ['space in front', fileOf(' {}'), /must start with/],
    ['text after the object', fileOf('{} x'), /end of the file/],
    ['a nested bomb', fileOf(`{"a":${'['.repeat(100_000)}`), /deeper/],
    ['duplicate names', fileOf('{"a": 1, "a": 2}'), /twice/],
    ['duplicate names, escaped', fileOf('{"a": 1, "\\u0061": 2}'), /twice/],
    ['an entry that is no object', headerOf({ w: 3 }, 0), /'w' is 3/],
    ['an unknown dtype', headerOf({ w: tensor(0, 4, [1], 'F128') }, 4), /'w'.*"F128"/],
    ['an inherited name as dtype', headerOf({ w: tensor(0, 4, [1], 'constructor') }, 4), /unknown dtype/],
    ['no dtype', headerOf({ w: { shape: [1], data_offsets: [0, 4] } }, 4), /nothing/],
    ['no shape', headerOf({ w: { dtype: 'F32', data_offsets: [0, 4] } }, 4), /shape nothing/],
    ['a negative size', headerOf({ w: tensor(0, 4, [-1]) }, 4), /at least 0/],
    ['a fractional size', headerOf({ w: tensor(0, 4, [0.5, 2]) }, 4), /at least 0/],
    ['a size beyond 2^53', headerOf({ w: tensor(0, 4, [2 ** 60]) }, 4), /at least 0/],
    ['a size that is text', headerOf({ w: tensor(0, 4, ['1']) }, 4), /at least 0/],
    ['a product that overflows', headerOf({ w: tensor(0, 4, [2 ** 30, 2 ** 30]) }, 4), /too large/],
    ['an overflow behind a zero', headerOf({ w: tensor(0, 0, [2 ** 30, 2 ** 30, 0]) }, 0), /too large/],
    ['offsets that are text', headerOf({ w: { ...good, data_offsets: ['0', '4'] } }, 4), /data_offsets/],
    ['fractional offsets', headerOf({ w: { ...good, data_offsets: [0, 4.5] } }, 4), /data_offsets/],
    ['three offsets', headerOf({ w: { ...good, data_offsets: [0, 4, 8] } }, 4), /data_offsets/],
    ['begin after end', headerOf({ w: { ...good, data_offsets: [4, 0] } }, 4), /begin <= end/],
    ['a truncated file', headerOf({ v: good, w: tensor(4, 40) }, 10), /30 bytes are missing.*'w'/],
    ['bytes that the shape contradicts', headerOf({ w: tensor(0, 8, [1]) }, 8), /takes 8 bytes.*takes 4/],
    ['a part of a byte', headerOf({ w: tensor(0, 1, [1], 'F4') }, 1), /takes 0.5/],
    ['overlap', headerOf({ v: tensor(0, 8), w: tensor(4, 12) }, 12), /'w' starts at byte 4, inside tensor 'v'/],
    ['the same place twice', headerOf({ v: tensor(0, 8), w: tensor(0, 8) }, 8), /inside/],
    ['a hole', headerOf({ v: good, w: tensor(8, 12) }, 12), /4 bytes before tensor 'w'/],
    ['a hole at the start', headerOf({ w: tensor(4, 8) }, 8), /4 bytes before/],
    ['bytes after the last tensor', headerOf({ w: good }, 9), /5 bytes after/],
    ['data without tensors', fileOf('{}', 1), /1 bytes after/],
    ['metadata that is text', headerOf({ __metadata__: 'x' }, 0), /__metadata__/],
    ['metadata with a number', headerOf({ __metadata__: { a: 1 } }, 0), /under 'a'/],
  ];

  test.each(cases)('%s', async (_, bytes, message) => {
    const error = await open(bytes).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(SafetensorsError);
    expect((error as Error).message).toMatch(/^test\.safetensors: /);
    expect((error as Error).message).toMatch(message);
  });

  test('opens what only looks odd: no metadata as null, and eight-bit floats of any make', async () => {
    const dtypes = ['F8_E4M3', 'F8_E5M2', 'F8_E8M0', 'F8_E4M3FNUZ', 'F8_E5M2FNUZ'];
    const entries = dtypes.map((dtype, i) => [dtype, tensor(4 * i, 4 * i + 4, [4], dtype)]);
    const file = await open(headerOf({ __metadata__: null, ...Object.fromEntries(entries) }, 4 * dtypes.length));
    expect(file.metadata).toEqual({});
    expect([...file.tensors.values()].map(({ dtype }) => dtype)).toEqual(dtypes);
    await expect(file.readFloat32('F8_E4M3FNUZ')).rejects.toThrow(WeightDTypeError);
  });

  test('does not call a file damaged whose dtype may be of a newer version', async () => {
    await expect(open(headerOf({ w: tensor(0, 4, [1], 'F128') }, 4))).rejects.not.toThrow(/damaged/);
  });

  test('accepts an empty file of tensors', async () => {
    expect((await open(fileOf('{}  '))).tensors.size).toBe(0);
  });
});

describe('any file', () => {
  const valid = writeSafetensors(
    [
      { name: 'a', dtype: 'F32', shape: [2, 3], data: new Float32Array(6).fill(1) },
      { name: 'b', dtype: 'BF16', shape: [4], data: new Float32Array(4) },
      { name: 'c', dtype: 'F16', shape: [], data: new Float32Array(1) },
    ],
    { format: 'pt' },
  );
  const readAll = async (bytes: Uint8Array) => {
    try {
      const file = await open(bytes);
      for (const name of file.tensors.keys()) await file.readFloat32(name);
    } catch (error) {
      if (!(error instanceof SafetensorsError || error instanceof WeightDTypeError)) throw error;
    }
  };

  test('fails with its own errors only, whatever bytes are changed', async () => {
    const edit = fc.record({ at: fc.nat(valid.length - 1), byte: fc.nat(255) });
    const mutation = fc.record({ edits: fc.array(edit, { maxLength: 4 }), cut: fc.nat(valid.length) });
    await fc.assert(
      fc.asyncProperty(mutation, fc.boolean(), async ({ edits, cut }, truncated) => {
        const bytes = valid.slice(0, truncated ? cut : valid.length);
        for (const { at, byte } of edits) if (at < bytes.length) bytes[at] = byte;
        await readAll(bytes);
      }),
      { seed: 1, numRuns: runs(3000) },
    );
  });

  test('fails with its own errors only, whatever the header says', async () => {
    const size = fc.oneof(fc.nat(8), fc.constantFrom(-1, 0.5, 2 ** 53, 2 ** 31, null, '4'));
    const entry = fc.record(
      {
        dtype: fc.constantFrom('F32', 'F16', 'BF16', 'F64', 'I8', 'BOOL', 'F4', 'x', 1),
        shape: fc.oneof(fc.array(size, { maxLength: 4 }), fc.jsonValue()),
        data_offsets: fc.oneof(fc.tuple(size, size), fc.jsonValue()),
      },
      { requiredKeys: [] },
    );
    const header = fc.dictionary(fc.string({ maxLength: 12 }), fc.oneof(entry, fc.jsonValue()), { maxKeys: 4 });
    await fc.assert(
      fc.asyncProperty(header, fc.nat(40), (json, dataBytes) => readAll(headerOf(json, dataBytes))),
      { seed: 2, numRuns: runs(2000) },
    );
  });

  test('is read back as it was written', async () => {
    const item: fc.Arbitrary<TensorToWrite> = fc
      .record({
        name: fc.string().filter((name) => name !== '__metadata__'),
        dtype: fc.constantFrom('F32', 'BF16', 'F16'),
        rows: fc.nat(3),
        columns: fc.nat(3),
      })
      .chain(({ rows, columns, ...rest }) => {
        const length = rows * columns;
        return fc
          .float32Array({ minLength: length, maxLength: length })
          .map((data) => ({ ...rest, shape: [rows, columns], data }));
      });
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(item, { selector: ({ name }) => name, maxLength: 5 }), async (tensors) => {
        const bytes = writeSafetensors(tensors, { a: 'b' });
        expect(writeSafetensors(tensors, { a: 'b' })).toEqual(bytes);
        const file = await open(bytes);
        expect([...file.tensors.keys()].sort()).toEqual(tensors.map(({ name }) => name).sort());
        const round = { F32: Math.fround, BF16: roundToBfloat16, F16: roundToFloat16 };
        for (const { name, dtype, data } of tensors) {
          expect(await file.readFloat32(name)).toEqual(data.map(round[dtype]));
        }
      }),
      { seed: 3, numRuns: runs(300) },
    );
  });
});

describe('writing', () => {
  test('refuses what can not be a file', () => {
    const x = { name: 'x', dtype: 'F32', shape: [2], data: new Float32Array(2) } as const;
    expect(() => writeSafetensors([x, x])).toThrow(ArgumentError);
    expect(() => writeSafetensors([{ ...x, shape: [3] }])).toThrow(ArgumentError);
    expect(() => writeSafetensors([{ ...x, name: '__metadata__' }], {})).toThrow(ArgumentError);
  });
});

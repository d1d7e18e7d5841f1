import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { memorySource } from '../../../src/checkpoint/files/byte-source.ts';
import type { ModelFiles } from '../../../src/checkpoint/files/model-files.ts';
import { ReadScratch } from '../../../src/checkpoint/files/read-scratch.ts';
import type { Gguf } from '../../../src/checkpoint/gguf/gguf.ts';
import { openGguf } from '../../../src/checkpoint/gguf/open-gguf.ts';
import { ArgumentError, GgufError, ModelNotFoundError, WeightDTypeError } from '../../../src/errors.ts';
import { nonFiniteBlock } from '../../../src/tensor/block-formats.ts';
import { SeededRandom } from '../../layers/seeded.ts';
import { runs } from '../../runs.ts';
import { blockValues, someBlocks } from '../../tensor/blocks.ts';
import { Bytes, floats, TENSOR_TYPES, TYPES, value, writeGguf } from './gguf-writer.ts';

/** Files in memory; `reads` gets the ranges that are read. */
function filesOf(files: Readonly<Record<string, Uint8Array>>, reads: [number, number][] = []): ModelFiles {
  return {
    location: '/models/a.gguf',
    nameOf: (file) => file,
    readText: async () => undefined,
    open: async (file) => {
      if (!Object.hasOwn(files, file)) return undefined;
      const source = memorySource(file, files[file]);
      const read = (offset: number, length: number, scratch?: ArrayBuffer) => {
        reads.push([offset, length]);
        return source.read(offset, length, scratch);
      };
      return { ...source, read };
    },
    list: async () => Object.keys(files),
    close: async () => {},
  };
}

function open(bytes: Uint8Array, reads?: [number, number][]): Promise<Gguf> {
  return openGguf(filesOf({ 'a.gguf': bytes }, reads), 'a.gguf');
}

function tensorOf(gguf: Gguf, name: string) {
  const tensor = gguf.tensors.get(name);
  if (tensor === undefined) throw new Error(`no tensor ${name}`);
  return tensor;
}

/** Of one to four bytes a character, in UTF-16 of one and two units. */
const TOKENS = ['a', '\uFEFF', 'ü', '', '🐍x', '語'];
const vector = { name: 'v', shape: [2], data: floats(1, 2) };

describe('metadata', () => {
  const metadata = {
    'general.architecture': value.string('mamba2'),
    big: value.u64(2n ** 60n),
    count: value.u32(7),
    ratio: value.f32(0.5),
    flag: value.bool(true),
    tokens: value.strings(TOKENS),
    sizes: value.u32s([3, 0]),
    none: value.u32s([]),
  };
  const opened = () => open(writeGguf({ metadata }));

  test('has the values of the file', async () => {
    const { metadata: found, name } = await opened();
    expect(name).toBe('a.gguf');
    expect(found.keys()).toEqual(Object.keys(metadata));
    expect(found.string('general.architecture')).toBe('mamba2');
    expect([found.integer('count'), found.number('count'), found.number('ratio')]).toEqual([7, 7, 0.5]);
    expect(found.boolean('flag')).toBe(true);
    expect(found.strings('tokens')).toEqual(TOKENS);
    expect([found.integers('sizes'), found.numbers('sizes')]).toEqual([
      [3, 0],
      [3, 0],
    ]);
    expect([found.isArray('sizes'), found.isArray('count'), found.has('count')]).toEqual([true, false, true]);
    expect([found.strings('none'), found.integers('none'), found.booleans('none')]).toEqual([[], [], []]);
  });

  test('is undefined for keys that are absent', async () => {
    const { metadata: found } = await opened();
    const reads = ['String', 'Integer', 'Number', 'Boolean', 'Strings', 'Integers', 'Numbers', 'Booleans'] as const;
    expect(reads.map((kind) => found[`optional${kind}`]('x'))).toEqual(reads.map(() => undefined));
  });

  test('complains with file, key, what was found and what was expected', async () => {
    const { metadata: found } = await opened();
    expect(() => found.string('count')).toThrow(/^a\.gguf: 'count' is 7 of type uint32, expected a string/);
    expect(() => found.integer('ratio')).toThrow(/'ratio' is 0.5 of type float32, expected an integer/);
    expect(() => found.integer('big')).toThrow(/'big' is 1152921504606846976 of type uint64/);
    expect(() => found.number('tokens')).toThrow(/'tokens' is an array of 6 values of type string/);
    expect(() => found.numbers('tokens')).toThrow(GgufError);
    expect(() => found.integers('missing')).toThrow(/lack 'missing', expected an array of integers/);
  });

  test('refuses text that is not UTF-8, and names it', async () => {
    const broken = Uint8Array.of(0xff, 0xfe);
    await expect(open(writeGguf({ metadata: { a: value.string(broken) } }))).rejects.toThrow(
      /^a\.gguf: 'a' is not UTF-8/,
    );
    const list = new Bytes().u32(TYPES.array).u32(TYPES.string).u64(1).string(broken);
    const { metadata: found } = await open(writeGguf({ metadata: { list } }));
    expect(() => found.strings('list')).toThrow(/'list', element 0, is not UTF-8/);
    // Halves of one character, which are text together.
    const [first, second] = [Uint8Array.of(0xc3), Uint8Array.of(0xbc)];
    const halves = new Bytes().u32(TYPES.array).u32(TYPES.string).u64(2).string(first).string(second);
    const { metadata: cut } = await open(writeGguf({ metadata: { halves } }));
    expect(() => cut.strings('halves')).toThrow(/'halves', element 0, is not UTF-8/);
  });
});

describe('tensors', () => {
  test('have row-major shapes and their values, row by row', async () => {
    const data = floats(0, 1, 2, 3, 4, 5);
    const gguf = await open(writeGguf({ tensors: [vector, { name: 'm', shape: [3, 2], data }] }));
    const matrix = tensorOf(gguf, 'm');
    expect(matrix).toMatchObject({ dtype: 'F32', shape: [3, 2], file: 'a.gguf', byteLength: 24, problem: undefined });
    expect(await matrix.readFloat32()).toEqual(Float32Array.of(0, 1, 2, 3, 4, 5));
    expect(await matrix.readFloat32({ firstRow: 1, rows: 1 })).toEqual(Float32Array.of(2, 3));
    expect(await matrix.readBytes({ firstRow: 2 })).toEqual(floats(4, 5));
    await expect(matrix.readFloat32({ firstRow: 3, rows: 1 })).rejects.toThrow(ArgumentError);
  });

  test('read only the blocks of the rows that are asked for', async () => {
    const rows = Uint8Array.from({ length: 4 * 2 * 34 }, (_, i) => (i % 34 === 0 ? 0 : i % 34 === 1 ? 0x3c : i));
    const reads: [number, number][] = [];
    const gguf = await open(
      writeGguf({ tensors: [{ name: 'q', type: TENSOR_TYPES.Q8_0, shape: [4, 64], data: rows }] }),
      reads,
    );
    const whole = await tensorOf(gguf, 'q').readFloat32();
    reads.length = 0;
    const scratch = new ReadScratch(256);
    expect(await tensorOf(gguf, 'q').readFloat32({ firstRow: 1, rows: 2 }, scratch)).toEqual(whole.slice(64, 192));
    expect(reads.map(([, length]) => length)).toEqual([2 * 2 * 34]);
  });

  test('may be lists whose blocks straddle what is read', async () => {
    const data = Uint8Array.from({ length: 68 }, (_, i) => (i % 34 === 0 ? 0 : i % 34 === 1 ? 0x3c : i));
    const gguf = await open(writeGguf({ tensors: [{ name: 'q', type: TENSOR_TYPES.Q8_0, shape: [64], data }] }));
    const whole = await tensorOf(gguf, 'q').readFloat32();
    expect(await tensorOf(gguf, 'q').readFloat32({ firstRow: 30, rows: 5 })).toEqual(whole.slice(30, 35));
  });

  test('of types that are not read say so', async () => {
    const gguf = await open(writeGguf({ tensors: [{ ...vector, type: TENSOR_TYPES.I32 }] }));
    const { problem, readFloat32 } = tensorOf(gguf, 'v');
    expect(problem?.message).toMatch(/a\.gguf: tensor 'v' is stored as I32, expected one of .*Q4_K/);
    await expect(readFloat32()).rejects.toThrow(WeightDTypeError);
  });

  test('lie where the alignment puts them', async () => {
    const tensors = [vector, { ...vector, name: 'w', data: floats(3, 4) }];
    const metadata = { 'general.alignment': value.u32(128) };
    const gguf = await open(writeGguf({ metadata, tensors, alignment: 128 }));
    expect(await tensorOf(gguf, 'w').readFloat32()).toEqual(Float32Array.of(3, 4));
  });

  test.each([2, 3])('are read in version %i', async (version) => {
    expect((await open(writeGguf({ version, tensors: [vector] }))).tensors.size).toBe(1);
  });

  test('are multiplied by the scales that lie next to them', async () => {
    const tensors = [
      { name: 'a.weight', shape: [2, 2], data: floats(1, 2, 3, 4) },
      { name: 'a.scale', shape: [1], data: floats(0.5) },
      { name: 'a.input_scale', shape: [1], data: floats(9) },
      { name: 'e.weight', shape: [2, 1, 2], data: floats(1, 2, 3, 4) },
      { name: 'e.scale', shape: [2], data: floats(10, 100) },
    ];
    const gguf = await open(writeGguf({ tensors }));
    expect([...gguf.tensors.keys()]).toEqual(['a.weight', 'e.weight']);
    // What multiplies blocks of F32 must not take it for such.
    expect(tensorOf(gguf, 'a.weight')).toMatchObject({ dtype: 'F32 × F32', byteLength: 20 });
    expect(await tensorOf(gguf, 'a.weight').readFloat32({ firstRow: 1 })).toEqual(Float32Array.of(1.5, 2));
    const scratch = new ReadScratch(4);
    expect(await tensorOf(gguf, 'e.weight').readFloat32({}, scratch)).toEqual(Float32Array.of(10, 20, 300, 400));
    expect(await tensorOf(gguf, 'e.weight').readFloat32({ firstRow: 1 }, scratch)).toEqual(Float32Array.of(300, 400));
    const wrong = [...tensors.slice(0, 1), { name: 'a.scale', shape: [2], data: floats(1, 2) }];
    await expect(open(writeGguf({ tensors: wrong }))).rejects.toThrow(/'a\.scale' is F32 of shape \[2\], expected/);
  });

  test.each(['Q8_0', 'Q4_0', 'Q4_K', 'Q5_K', 'Q6_K', 'MXFP4'] as const)(
    'in %s have their own blocks',
    async (format) => {
      const [rows, columns] = [5, 512];
      const data = someBlocks(format, rows, columns, 1);
      const type = { Q4_0: 2, Q8_0: 8, Q4_K: 12, Q5_K: 13, Q6_K: 14, MXFP4: 39 }[format];
      const tensor = tensorOf(
        await open(writeGguf({ tensors: [{ name: 'w', shape: [rows, columns], data, type }] })),
        'w',
      );
      expect(tensor.blocks?.format).toBe(format);
      expect(await tensor.blocks?.read({ firstRow: 1, rows: 3 })).toEqual(
        await tensor.readBytes({ firstRow: 1, rows: 3 }),
      );
    },
  );

  test.each([
    { name: 'Q5_0', type: 6, blockValues: 32, blockBytes: 22, d: 0, format: 'Q8_0' },
    { name: 'IQ4_NL', type: 20, blockValues: 32, blockBytes: 18, d: 0, format: 'Q8_0' },
    { name: 'Q3_K', type: 11, blockValues: 256, blockBytes: 110, d: 108, format: 'Q6_K' },
  ] as const)(
    'in $name have exact blocks of another format',
    async ({ type, blockValues: size, blockBytes, d, format }) => {
      const [rows, columns] = [7, 768];
      const random = new SeededRandom(type);
      const data = Uint8Array.from({ length: (rows * columns * blockBytes) / size }, () => random.integer(0, 255));
      for (let at = d; at < data.length; at += blockBytes) data[at + 1] = random.integer(0x98, 0xa4);
      const tensor = tensorOf(
        await open(writeGguf({ tensors: [{ name: 'w', shape: [rows, columns], data, type }] })),
        'w',
      );
      expect(tensor.blocks?.format).toBe(format);
      const blocks = (await tensor.blocks?.read({ firstRow: 2, rows: 4 }, new ReadScratch(1e5))) ?? new Uint8Array();
      const found = blockValues(format, blocks).map((each) => each + 0);
      expect(found).toEqual((await tensor.readFloat32({ firstRow: 2, rows: 4 })).map((each) => each + 0));
    },
  );

  test.each([
    { shape: [6, 256], scale: undefined },
    { shape: [6, 256], scale: floats(0.3) },
    { shape: [3, 2, 384], scale: floats(0.7) },
    { shape: [3, 2, 384], scale: floats(0.1, -3, 1.7) },
  ])('in NVFP4 have blocks with the values that they have, case %#', async ({ shape, scale }) => {
    const data = new Uint8Array((shape.reduce((product, size) => product * size, 1) / 64) * 36);
    const random = new SeededRandom(shape.length);
    for (let i = 0; i < data.length; i++) data[i] = random.integer(0, 255);
    const tensors = [
      { name: 'w.weight', shape, data, type: TENSOR_TYPES.NVFP4 },
      ...(scale ? [{ name: 'w.scale', shape: [scale.length / 4], data: scale }] : []),
    ];
    const tensor = tensorOf(await open(writeGguf({ tensors })), 'w.weight');
    expect(tensor.blocks?.format).toBe('NVFP4');
    for (const range of [{}, { firstRow: 1 }, { firstRow: 1, rows: 1 }]) {
      const blocks = (await tensor.blocks?.read(range, new ReadScratch(10))) ?? new Uint8Array();
      expect(nonFiniteBlock('NVFP4', blocks)).toBe(-1);
      const found = blockValues('NVFP4', blocks).map((each) => each + 0);
      expect(found).toEqual((await tensor.readFloat32(range)).map((each) => each + 0));
    }
  });

  test('in other types, with scales or rows of parts of blocks have no blocks', async () => {
    const q8 = (columns: number) => ({ shape: [2, columns], data: new Uint8Array((columns / 16) * 34), type: 8 });
    const tensors = [
      { name: 'a.weight', ...q8(128) },
      { name: 'a.scale', shape: [1], data: floats(0.5) },
      { name: 'b.weight', ...q8(96) },
      { name: 'c.weight', shape: [2, 128], data: new Uint8Array(1024) },
    ];
    const gguf = await open(writeGguf({ tensors }));
    for (const name of ['a', 'b', 'c']) expect(tensorOf(gguf, `${name}.weight`).blocks).toBeUndefined();
  });

  test('of a long header are found by reads that grow', async () => {
    const reads: [number, number][] = [];
    const tokens = Array.from({ length: 60_000 }, (_, i) => `token number ${i}`);
    const bytes = writeGguf({ metadata: { tokens: value.strings(tokens) }, tensors: [vector] });
    const gguf = await open(bytes, reads);
    expect(gguf.metadata.strings('tokens')).toEqual(tokens);
    expect(reads.length).toBeGreaterThan(1);
    // Every byte once, forwards.
    expect(reads.slice(1).every(([offset], i) => offset === reads[i][0] + reads[i][1])).toBe(true);
  });
});

describe('a file that is malformed', () => {
  const huge = 2n ** 60n;
  const cases: [string, Uint8Array, RegExp][] = [
    ['nothing', new Uint8Array(), /0 bytes, fewer than any header/],
    ['another format', writeGguf({ magic: 0x04034b50 }), /begins with the bytes 50 4b 03 04/],
    ['version 1', writeGguf({ version: 1 }), /version 1 of GGUF, expected 2 or 3/],
    ['a version to come', writeGguf({ version: 4 }), /version 4/],
    ['big-endian', writeGguf({ version: 0x03000000 }), /big-endian/],
    ['countless tensors', writeGguf({ tensorCount: huge }), /claims \d+ tensors, but only/],
    ['countless entries', writeGguf({ entryCount: huge }), /entries of metadata, but only/],
    ['counts of all bits', writeGguf({ tensorCount: -1n, entryCount: -1n }), /claims/],
    ['one tensor too many', writeGguf({ tensorCount: 1 }), /claims 1 tensors|ends in the middle/],
    [
      'an endless string',
      writeGguf({ metadata: { a: new Bytes().u32(TYPES.string).u64(huge) } }),
      /'a' claims to be \d+ bytes long/,
    ],
    [
      'an endless array',
      writeGguf({ metadata: { a: new Bytes().u32(TYPES.array).u32(TYPES.uint8).u64(huge) } }),
      /values in 'a', but only/,
    ],
    [
      'an endless array of strings',
      writeGguf({
        metadata: {
          a: new Bytes()
            .u32(TYPES.array)
            .u32(TYPES.string)
            .u64(2n ** 61n),
        },
      }),
      /values in 'a', but only/,
    ],
    [
      'an endless string in an array',
      writeGguf({ metadata: { a: new Bytes().u32(TYPES.array).u32(TYPES.string).u64(1).u64(huge) } }),
      /element 0 of 'a' claims/,
    ],
    [
      'an array of arrays',
      writeGguf({ metadata: { a: new Bytes().u32(TYPES.array).u32(TYPES.array).u64(1).u64(1) } }),
      /array of arrays/,
    ],
    [
      'an unknown type of value',
      writeGguf({ metadata: { a: new Bytes().u32(13).u32(0) } }),
      /'a' has the unknown type 13/,
    ],
    [
      'a key twice',
      new Bytes()
        .u32(0x46554747)
        .u32(3)
        .u64(0)
        .u64(2)
        .string('a')
        .raw(value.u32(1).bytes)
        .string('a')
        .raw(value.u32(1).bytes).bytes,
      /key 'a' twice/,
    ],
    ['an alignment that is none', writeGguf({ metadata: { 'general.alignment': value.u32(0) } }), /alignment' is 0/],
    ['an odd alignment', writeGguf({ metadata: { 'general.alignment': value.u32(24) } }), /is 24, expected a power/],
    [
      'an alignment of text',
      writeGguf({ metadata: { 'general.alignment': value.string('32') } }),
      /expected an integer/,
    ],
    ['five dimensions', writeGguf({ tensors: [{ ...vector, shape: [1, 1, 1, 1, 2] }] }), /5 dimensions/],
    [
      'dimensions that overflow',
      writeGguf({ tensors: [{ ...vector, shape: [2 ** 40, 2 ** 40] }] }),
      /number of values is too large/,
    ],
    ['an overflow behind a zero', writeGguf({ tensors: [{ ...vector, shape: [0, 2 ** 52, 2 ** 52] }] }), /too large/],
    [
      'more values than bytes',
      writeGguf({ tensors: [{ ...vector, shape: [2 ** 50] }] }),
      /'v' ends at byte .* the file has/,
    ],
    ['an offset beyond the end', writeGguf({ tensors: [{ ...vector, offset: 2 ** 40 }] }), /'v' ends at byte/],
    ['an offset of all bits', writeGguf({ tensors: [{ ...vector, offset: -32n }] }), /'v' ends at byte/],
    [
      'an offset between alignments',
      writeGguf({ tensors: [{ ...vector, offset: 4 }] }),
      /begins at 4, expected a multiple/,
    ],
    [
      'an unknown type of tensor',
      writeGguf({ tensors: [{ ...vector, type: 99 }] }),
      /tensor 'v' is of the unknown type 99/,
    ],
    ['a type that was given up', writeGguf({ tensors: [{ ...vector, type: 4 }] }), /unknown type 4/],
    [
      'rows of half a block',
      writeGguf({ tensors: [{ name: 'q', type: TENSOR_TYPES.Q4_0, shape: [2, 16], data: new Uint8Array(18) }] }),
      /rows of 16 values, expected blocks of 32/,
    ],
    [
      'overlap',
      writeGguf({ tensors: [vector, { ...vector, name: 'w', offset: 0 }] }),
      /'w' begins at byte \d+, inside tensor 'v'/,
    ],
    ['a name twice', writeGguf({ tensors: [vector, vector] }), /two tensors of the name 'v'/],
    [
      'a file cut short',
      writeGguf({ tensors: [{ ...vector, shape: [100], data: new Uint8Array(400) }] }).slice(0, -64),
      /'v' ends at byte/,
    ],
  ];

  test.each(cases)('is refused: %s', async (_, bytes, message) => {
    const error = await open(bytes).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(GgufError);
    expect((error as Error).message).toMatch(/^a\.gguf: /);
    expect((error as Error).message).toMatch(message);
  });

  test('is refused wherever it was cut', async () => {
    const bytes = writeGguf({ metadata: { a: value.strings(['x', 'y']), b: value.u32(1) }, tensors: [vector] });
    for (let length = 0; length < bytes.length - 24; length++) {
      await expect(open(bytes.slice(0, length))).rejects.toThrow(GgufError);
    }
  });
});

describe('a split file', () => {
  const part = (no: number, count: number, names: readonly string[], more: Readonly<Record<string, Bytes>> = {}) =>
    writeGguf({
      metadata: { 'split.no': value.u32(no), 'split.count': value.u32(count), ...more },
      tensors: names.map((name) => ({ ...vector, name })),
    });
  const total = (count: number) => ({ 'split.tensors.count': value.u32(count) });
  const name = (no: number, count = 3) => `m-0000${no}-of-0000${count}.gguf`;
  const whole = {
    [name(1)]: part(0, 3, [], { ...total(3), 'general.architecture': value.string('x') }),
    [name(2)]: part(1, 3, ['a', 'b'], total(3)),
    [name(3)]: part(2, 3, ['c'], total(3)),
  };

  test.each([1, 2, 3])('is one model, whichever part is named: %i', async (no) => {
    const gguf = await openGguf(filesOf(whole), name(no));
    expect([...gguf.tensors].map(([key, { file }]) => [key, file])).toEqual([
      ['a', name(2)],
      ['b', name(2)],
      ['c', name(3)],
    ]);
    expect(gguf.metadata.string('general.architecture')).toBe('x');
    expect(gguf.name).toBe(name(1));
  });

  const failure = async (files: Readonly<Record<string, Uint8Array>>, file = name(1)) => {
    const error = await openGguf(filesOf(files), file).catch((thrown: unknown) => thrown);
    if (!(error instanceof Error)) throw new Error('expected an error');
    return error;
  };

  test('is refused without a part', async () => {
    const { [name(2)]: _, ...rest } = whole;
    const error = await failure(rest);
    expect(error).toBeInstanceOf(ModelNotFoundError);
    expect(error.message).toMatch(/m-00002-of-00003\.gguf': part 2 of 3 is missing/);
  });

  test.each<[string, Record<string, Uint8Array>, RegExp]>([
    [
      'a part that is another one again',
      { [name(3)]: whole[name(2)] },
      /says that it is part 2 of 3, but its name says 3/,
    ],
    ['a part that is the first one again', { [name(2)]: whole[name(1)] }, /says that it is part 1 of 3/],
    ['a part of another number of parts', { [name(3)]: part(2, 4, ['c']) }, /part 3 of 4, but its name says 3 of 3/],
    ['a part that says nothing', { [name(3)]: writeGguf({ tensors: [vector] }) }, /part 1 of 1/],
    ['a tensor in two parts', { [name(3)]: part(2, 3, ['a'], total(3)) }, /'a' is in both 'm-00002.*' and 'm-00003/],
    ['a tensor too few', { [name(3)]: part(2, 3, [], total(3)) }, /should hold 3 tensors together, but hold 2/],
  ])('is refused with %s', async (_, changed, message) => {
    const error = await failure({ ...whole, ...changed });
    expect(error).toBeInstanceOf(GgufError);
    expect(error.message).toMatch(message);
  });

  test('is refused where its names do not say what it is', async () => {
    expect((await failure({ 'm.gguf': whole[name(1)] }, 'm.gguf')).message).toMatch(
      /one of 3 parts.*as in 'model-00001/,
    );
    expect((await failure({ [name(1, 2)]: whole[name(1)] }, name(1, 2))).message).toMatch(/one of 3 parts/);
    const many = { 'm-00001-of-65535.gguf': part(0, 65535, []) };
    expect((await failure(many, 'm-00001-of-65535.gguf')).message).toMatch(/part 2 of 65535 is missing/);
  });
});

describe('any file', () => {
  const valid = writeGguf({
    metadata: { a: value.string('text'), b: value.strings(['x', 'yz']), c: value.u32s([1, 2]), d: value.f32(1) },
    tensors: [vector, { name: 'q.weight', type: TENSOR_TYPES.Q8_0, shape: [2, 32], data: new Uint8Array(68) }],
  });
  const readAll = async (bytes: Uint8Array) => {
    try {
      const { metadata, tensors } = await open(bytes);
      for (const key of metadata.keys()) {
        if (metadata.isArray(key))
          await Promise.resolve()
            .then(() => metadata.strings(key))
            .catch(own);
        else
          await Promise.resolve()
            .then(() => metadata.string(key))
            .catch(own);
      }
      for (const tensor of tensors.values()) await tensor.readFloat32();
    } catch (error) {
      own(error);
    }
  };
  const own = (error: unknown) => {
    if (!(error instanceof GgufError || error instanceof WeightDTypeError)) throw error;
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
    const size = fc.oneof(fc.nat(70), fc.constantFrom(2 ** 31, 2 ** 40, 2 ** 53 - 1));
    const wide = fc.oneof(size, fc.bigInt(0n, 2n ** 64n - 1n));
    const tensor = fc.record({
      name: fc.string({ maxLength: 4 }),
      type: fc.oneof(fc.nat(45), fc.nat()),
      shape: fc.array(size, { maxLength: 5 }),
      data: fc.uint8Array({ maxLength: 80 }),
      offset: fc.option(wide, { nil: undefined }),
    });
    const entry = fc.tuple(fc.nat(14), fc.nat(14), wide).map(([type, of, n]) => new Bytes().u32(type).u32(of).u64(n));
    const file = fc.record({
      metadata: fc.dictionary(fc.string({ maxLength: 4 }), entry, { maxKeys: 3 }),
      tensors: fc.array(tensor, { maxLength: 3 }),
      tensorCount: fc.option(wide, { nil: undefined, freq: 6 }),
      entryCount: fc.option(wide, { nil: undefined, freq: 6 }),
    });
    await fc.assert(
      fc.asyncProperty(file, async ({ tensorCount, entryCount, ...rest }) => {
        const counts = {
          ...(tensorCount !== undefined && { tensorCount }),
          ...(entryCount !== undefined && { entryCount }),
        };
        const tensors = rest.tensors.map(({ offset, ...known }) => ({
          ...known,
          ...(offset !== undefined && { offset }),
        }));
        await readAll(writeGguf({ ...rest, tensors, ...counts }));
      }),
      { seed: 2, numRuns: runs(2000) },
    );
  });
});

import { describe, expect, test } from 'vitest';
import { Checkpoint } from '../../../src/checkpoint/checkpoint.ts';
import { type BlockFormat, nonFiniteBlock } from '../../../src/tensor/block-formats.ts';
import { blockValues } from '../../tensor/blocks.ts';
import { makeFolder } from '../folders.ts';
import { CASES, type QuantizationCase } from './cases.ts';
import { random } from './numbers.ts';
import { awq, compressedIntegers, fp8, gptq, type Matrix, packed } from './packers.ts';
import { rawSafetensors } from './raw-safetensors.ts';

/** Formats that the weights of a case have; the others have none. */
const FORMATS: Readonly<Record<string, BlockFormat>> = {
  'ModelOpt FP8': 'F8_E4M3',
  'ModelOpt FP8, a scale a row': 'F8_E4M3',
  'ModelOpt FP8, blocks': 'F8_E4M3',
  'ModelOpt NVFP4': 'NVFP4',
  'ModelOpt W4A16_NVFP4 in a file of its own': 'NVFP4',
  'FP8, blocks of 128x128': 'F8_E4M3',
  'FP8, one scale': 'F8_E4M3',
  'fbgemm FP8': 'F8_E4M3',
  'compressed-tensors float-quantized, a scale a row': 'F8_E4M3',
  'compressed-tensors float-quantized, one scale': 'F8_E4M3',
  'compressed-tensors int-quantized': 'INT8_G128',
  'compressed-tensors pack-quantized, 2 bits': 'INT4_G32',
  'compressed-tensors pack-quantized, 3 bits': 'INT4_G32',
  'compressed-tensors pack-quantized, 4 bits': 'INT4_G32',
  'compressed-tensors pack-quantized, 3 bits in whole words': 'INT4_G32',
  'compressed-tensors pack-quantized, a scale a row and zero points': 'INT4_G128',
  'compressed-tensors nvfp4-pack-quantized': 'NVFP4',
  'compressed-tensors mxfp4-pack-quantized': 'MXFP4',
  'GPTQ, 2 bits': 'INT4_G32',
  'GPTQ, 3 bits': 'INT4_G32',
  'GPTQ, 4 bits': 'INT4_G32',
  'GPTQ of the second version in a file of its own': 'INT4_G128',
  AWQ: 'INT4_G32',
  'AWQ in a file of its own': 'INT4_G64',
  'MLX mxfp4': 'MXFP4',
  'MLX nvfp4': 'NVFP4',
};

function matrix(rows: number, columns: number, seed: number): Matrix {
  const next = random(seed);
  const data = Float32Array.from({ length: rows * columns }, () => (next() - 0.5) * 2 ** Math.floor(6 * next() - 6));
  return { rows, columns, data };
}

async function openLayer({ config, files, pack }: Pick<QuantizationCase, 'config' | 'files' | 'pack'>, weight: Matrix) {
  const norm = { name: 'model.norm.weight', dtype: 'F32', shape: [1], bytes: new Uint8Array(4) };
  const folder = await makeFolder({
    'config.json': { ...config },
    'model.safetensors': rawSafetensors([...pack('model.layers.0.proj', weight).tensors, norm]),
    ...files,
  });
  return Checkpoint.open(folder);
}

/** That all ranges of rows have blocks with the values that are read as floats. */
async function expectBlocks(checkpoint: Checkpoint, format: BlockFormat): Promise<void> {
  const tensor = checkpoint.tensor(checkpoint.names()[0]);
  expect(tensor.blocks?.format).toBe(format);
  const [rows] = tensor.shape;
  for (const [firstRow, count] of [
    [0, rows],
    [0, 1],
    [rows - 1, 1],
    [Math.floor(rows / 3), Math.ceil(rows / 2)],
    [1, 0],
  ]) {
    const range = { firstRow, rows: count };
    const bytes = await tensor.blocks?.read(range);
    if (bytes === undefined) throw new Error('No blocks were read.');
    expect(nonFiniteBlock(format, bytes)).toBe(-1);
    // A zero has no sign that matters.
    const found = blockValues(format, bytes).map((value) => value + 0);
    expect(found).toEqual((await tensor.readFloat32(range)).map((value) => value + 0));
  }
  tensor.release?.();
}

describe.each(CASES)('$name', (quantized) => {
  test('its blocks stand for exactly its values, or it has none', async () => {
    for (const [seed, [rows, columns]] of [
      [32, 128],
      [160, 384],
    ].entries()) {
      const checkpoint = await openLayer(quantized, matrix(rows, columns, seed));
      const format = FORMATS[quantized.name];
      if (format === undefined) expect(checkpoint.tensor(checkpoint.names()[0]).blocks).toBeUndefined();
      else await expectBlocks(checkpoint, format);
      await checkpoint.close();
    }
  });

  test('rows that are no whole blocks have none', async () => {
    const checkpoint = await openLayer(quantized, matrix(32, 192, 3));
    expect(checkpoint.tensor(checkpoint.names()[0]).blocks).toBeUndefined();
    await checkpoint.close();
  });
});

describe('stacks of matrices', () => {
  test.each([
    'FP8, one scale',
    'ModelOpt FP8, blocks',
    'fbgemm FP8',
    'compressed-tensors int-quantized',
    'compressed-tensors pack-quantized, 4 bits',
    'compressed-tensors nvfp4-pack-quantized',
    'compressed-tensors mxfp4-pack-quantized',
    'MLX nvfp4',
    'MLX mxfp4',
  ])('%s', async (name) => {
    const quantized = CASES.find((each) => each.name === name);
    if (quantized === undefined) throw new Error(name);
    const shape = [3, 128, 256];
    const { data } = matrix(3 * 128, 256, 5);
    const { tensors } = packed(quantized.pack, 'model.layers.0.proj', { shape, data: Float32Array.from(data) });
    const checkpoint = await Checkpoint.open(
      await makeFolder({ 'config.json': { ...quantized.config }, 'model.safetensors': rawSafetensors(tensors) }),
    );
    expect(checkpoint.quantization?.problem).toBeUndefined();
    await expectBlocks(checkpoint, FORMATS[name]);
    await checkpoint.close();
  });
});

test('damaged blocks are told while they are read', async () => {
  const quantized = CASES.find(({ name }) => name === 'FP8, one scale');
  if (quantized === undefined) throw new Error();
  const { tensors } = quantized.pack('model.layers.0.proj', matrix(4, 256, 1));
  const [codes, ...others] = tensors;
  const bytes = Uint8Array.from(codes.bytes);
  bytes[300] = 0xff;
  const checkpoint = await Checkpoint.open(
    await makeFolder({
      'config.json': { ...quantized.config },
      'model.safetensors': rawSafetensors([{ ...codes, bytes }, ...others]),
    }),
  );
  const blocks = (await checkpoint.tensor('model.layers.0.proj.weight').blocks?.read()) ?? new Uint8Array();
  expect(nonFiniteBlock('F8_E4M3', blocks)).toBe(2);
  await checkpoint.close();
});

const compressed = (format: string, weights: Record<string, unknown>) => ({
  quantization_config: {
    quant_method: 'compressed-tensors',
    format,
    config_groups: { group_0: { targets: ['Linear'], weights } },
  },
});
const groups = (bits: number, size: number, symmetric: boolean) => ({
  ...{ type: 'int', num_bits: bits, strategy: 'group', group_size: size, symmetric },
});

describe('groups of other sizes', () => {
  const grouped = (bits: number, size: number, isSymmetric: boolean, scaleDType?: 'F32' | 'BF16' | 'F16') => ({
    config: compressed('pack-quantized', groups(bits, size, isSymmetric)),
    pack: compressedIntegers({
      bits,
      block: [1, size],
      isPacked: true,
      isSymmetric,
      ...(scaleDType && { scaleDType }),
    }),
  });

  test.each([
    { ...grouped(4, 64, false, 'F16'), format: 'INT4_G64' },
    { ...grouped(4, 128, false, 'BF16'), format: 'INT4_G128' },
    { ...grouped(4, 256, false, 'F16'), format: 'INT4_G128' },
    { ...grouped(2, 64, true, 'BF16'), format: 'INT4_G64' },
    { ...grouped(8, 128, true, 'F32'), format: 'INT8_G128' },
    { ...grouped(8, 512, true, 'BF16'), format: 'INT8_G128' },
    { ...grouped(7, 128, true, 'BF16'), format: 'INT8_G128' },
    { ...grouped(5, 256, true, 'F16'), format: 'INT8_G128' },
    { ...grouped(4, 16, true), format: undefined },
    { ...grouped(8, 64, true), format: undefined },
    { ...grouped(8, 128, false), format: undefined },
    // Scales of this many bits are those of no short word.
    { ...grouped(4, 32, true, 'F32'), format: undefined },
    {
      config: {
        quantization_config: { quant_method: 'gptq', bits: 4, group_size: 128, desc_act: false, sym: false },
      },
      pack: gptq({ bits: 4, groupSize: 128 }),
      format: 'INT4_G128',
    },
    {
      config: { quantization_config: { quant_method: 'awq', bits: 4, group_size: 128, version: 'gemm' } },
      pack: awq({ groupSize: 128 }),
      format: 'INT4_G128',
    },
    {
      config: { quantization_config: { quant_method: 'fp8', weight_block_size: [32, 256] } },
      pack: fp8({ block: [32, 256], scaleName: 'weight_scale_inv', scaleDType: 'BF16' }),
      format: 'F8_E4M3',
    },
  ] as const)('case %#: $format', async ({ format, ...quantized }) => {
    for (const columns of [512, 1024]) {
      const checkpoint = await openLayer(quantized, matrix(48, columns, columns));
      if (format === undefined) expect(checkpoint.tensor(checkpoint.names()[0]).blocks).toBeUndefined();
      else await expectBlocks(checkpoint, format);
      await checkpoint.close();
    }
  });
});

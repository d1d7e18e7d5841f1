import { mkdir, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Checkpoint } from '../../src/checkpoint/checkpoint.ts';
import { LLM } from '../../src/engine/llm.ts';
import { roundWeight } from '../../src/tensor/quantize.ts';
import { makeFolder } from '../checkpoint/folders.ts';
import { hybridFolder } from '../engine/hybrid-folders.ts';
import { largestDifference } from '../numbers.ts';
import { few } from '../runs.ts';
import { blockValues } from '../tensor/blocks.ts';
import { runCli } from './run-cli.ts';
import { TINY_DTS } from './tiny-dts.ts';

type Converted = 'int8' | 'int4' | 'bfloat16';

async function convert(source: string, dtype: Converted): Promise<{ folder: string; stderr: string }> {
  const folder = join(await makeFolder(), 'converted');
  const { code, stdout, stderr } = await runCli(['convert', source, '--dtype', dtype, '--out', folder]);
  expect({ code, stdout, stderr }).toMatchObject({ code: 0, stdout: `${folder}\n` });
  return { folder, stderr };
}

const isMatrix = (name: string, shape: readonly number[]) =>
  shape.length > 1 && !name.includes('conv1d') && !/router|\.gate\./.test(name);

/** The first weight that is not bit for bit what the dtype makes of the original. */
async function firstDifference(source: string, folder: string, dtype: Converted): Promise<string | undefined> {
  const [original, converted] = [await Checkpoint.open(source), await Checkpoint.open(folder)];
  try {
    expect(converted.names().toSorted()).toEqual(original.names().toSorted());
    for (const name of original.names()) {
      const { shape } = original.info(name);
      expect(converted.info(name).shape).toEqual(shape);
      const expected = await original.readFloat32(name);
      if (isMatrix(name, shape)) roundWeight(expected, shape[shape.length - 1], dtype);
      const bits = (values: Float32Array) => new Uint32Array(values.buffer, values.byteOffset, values.length);
      const [found, wanted] = [bits(await converted.readFloat32(name)), bits(expected)];
      if (found.some((word, i) => word !== wanted[i])) return name;
      const { blocks } = converted.tensor(name);
      const kept = blocks && blockValues(blocks.format, await blocks.read());
      // Zeros of codes have no sign.
      if (kept?.some((value, i) => value !== expected[i])) return `${name} in blocks`;
    }
    return undefined;
  } finally {
    await original.close();
    await converted.close();
  }
}

describe('convert', () => {
  test.each<[Converted, number]>(
    few([
      ['int8', 0.53],
      ['int4', 0.33],
      ['bfloat16', 1.01],
    ]),
  )('the bundled model in %s has the values bit for bit', async (dtype, share) => {
    const { folder, stderr } = await convert('tiny-dts', dtype);
    expect(stderr).toBe('');
    expect(await firstDifference(TINY_DTS, folder, dtype)).toBeUndefined();
    const [{ size }, original] = await Promise.all(
      [folder, TINY_DTS].map((path) => stat(join(path, 'model.safetensors'))),
    );
    expect(size / original.size).toBeLessThan(share);
    expect((await readdir(folder)).toSorted()).toEqual(
      expect.arrayContaining(['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']),
    );
    expect(await runCli(['inspect', folder])).toMatchObject({ code: 0, stderr: '' });
  });

  test.each([
    ['int8', 'INT8_G128', 1e-6],
    // The int4 of a load quantises activations to 7 bits, blocks to 8: both are this near to float32.
    ['int4', 'INT4_G32', 0.08],
  ] as const)(
    'a converted %s model stays in its codes, and is the model that was converted',
    async (dtype, format, near) => {
      const { folder } = await convert('tiny-dts', dtype);
      const checkpoint = await Checkpoint.open(folder);
      const matrices = checkpoint.names().filter((name) => isMatrix(name, checkpoint.info(name).shape));
      for (const name of matrices) expect(checkpoint.tensor(name).blocks?.format).toBe(format);
      await checkpoint.close();
      const { stdout } = await runCli(['inspect', folder, '--json']);
      const { autoWeightBytes, files } = JSON.parse(stdout);
      expect(autoWeightBytes / files.bytes).toBeLessThan(1.1);
      await using llm = await LLM.load(folder, { device: 'cpu' });
      await using plain = await LLM.load('tiny-dts', { device: 'cpu', dtype });
      const prompt = 'export interface User {\n';
      const expected = await plain.logits(prompt);
      const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      expect(largestDifference(await llm.logits(prompt), expected)).toBeLessThan(near * largest);
    },
  );

  test('a converted int8 model is that of int8 on load, and writes the same text', async () => {
    const { folder } = await convert('tiny-dts', 'int8');
    const options = { device: 'cpu', dtype: 'int8' } as const;
    await using llm = await LLM.load(folder, options);
    await using plain = await LLM.load('tiny-dts', options);
    const prompt = 'export interface User {\n';
    expect(largestDifference(await llm.logits(prompt), await plain.logits(prompt))).toBe(0);
    const request = { temperature: 0, maxTokens: 12 };
    expect((await llm.complete(prompt, request)).text).toBe((await plain.complete(prompt, request)).text);
  });

  test.each([
    'granitemoehybrid',
    'nemotron_h',
    'falcon_h1',
    'zamba2',
    'bamba',
    'variants/nemotron-experts',
    'variants/nemotron-mtp',
    'variants/granite-experts',
  ])('%s has the values of int4 bit for bit, also where groups do not divide columns', async (name) => {
    const source = hybridFolder(name);
    const { folder } = await convert(source, 'int4');
    expect(await firstDifference(source, folder, 'int4')).toBeUndefined();
    await (await LLM.load(folder, { device: 'reference' })).dispose();
  });

  test('a converted model can be converted again, and the config is the original one besides', async () => {
    const { folder } = await convert(hybridFolder('granitemoehybrid'), 'int8');
    const again = await convert(folder, 'bfloat16');
    const read = async (path: string) => JSON.parse(await readFile(join(path, 'config.json'), 'utf8'));
    const original = await read(hybridFolder('granitemoehybrid'));
    expect(await read(again.folder)).toEqual({ ...original, dtype: 'bfloat16' });
    expect((await read(folder)).quantization_config).toMatchObject({
      quant_method: 'compressed-tensors',
      format: 'pack-quantized',
      ignore: expect.arrayContaining(['model.layers.0.block_sparse_moe.router.layer']),
      config_groups: { group_0: { targets: ['Linear', 'Embedding'] } },
    });
  });

  test('a folder with files is left alone, and so is the disk where the model can not be read', async () => {
    const folder = await makeFolder({ 'a.txt': 'mine' });
    const taken = await runCli(['convert', 'tiny-dts', '--out', folder]);
    expect(taken).toMatchObject({ code: 2, stderr: expect.stringMatching(/is not empty/) });
    const broken = await makeFolder({ 'config.json': { model_type: 'unknown' } });
    const out = join(folder, 'new');
    expect(await runCli(['convert', broken, '--out', out])).toMatchObject({ code: 1 });
    await mkdir(out);
    expect(await readdir(out)).toEqual([]);
  });
});

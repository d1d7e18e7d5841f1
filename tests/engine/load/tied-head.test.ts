import { readFile } from 'node:fs/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import { openFile } from '../../../src/checkpoint/files/file-source.ts';
import { parseLenientJson } from '../../../src/checkpoint/json/json.ts';
import { SafetensorsFile } from '../../../src/checkpoint/safetensors/safetensors.ts';
import { type TensorToWrite, writeSafetensors } from '../../../src/checkpoint/safetensors/safetensors-writer.ts';
import { LLM } from '../../../src/engine/llm.ts';
import { loadModel } from '../../../src/engine/load/load-model.ts';
import type { LoadOptions } from '../../../src/engine/load/load-options.ts';
import { MissingTensorError, WeightShapeError } from '../../../src/errors.ts';
import { makeFolder } from '../../checkpoint/folders.ts';
import { runCli } from '../../cli/run-cli.ts';
import { bits } from '../../layers/seeded.ts';
import { StaticServer } from '../../static-server.ts';
import { hybridFolder } from '../hybrid-folders.ts';

const HEAD = 'lm_head.weight';
const EMBEDDINGS = /\.(embeddings?|embed_tokens)\.weight$/;
const PROMPT = [3, 44, 0, 17, 8, 8, 21, 5, 40, 2, 13];

interface Parts {
  readonly config: Record<string, unknown>;
  /** Without a head. */
  readonly tensors: readonly TensorToWrite[];
  readonly embeddings: TensorToWrite;
  /** Another table of the same size. */
  readonly other: TensorToWrite;
}

/** A golden model's parts, as they would be stored in some dtype. */
async function partsOf(name: string, dtype: TensorToWrite['dtype'] = 'F32'): Promise<Parts> {
  const folder = hybridFolder(name);
  const json = parseLenientJson(await readFile(`${folder}/config.json`, 'utf8'), 'config.json');
  const source = await openFile(`${folder}/model.safetensors`);
  onTestFinished(() => source.close());
  const file = await SafetensorsFile.open(source);
  const all = await Promise.all(
    [...file.tensors.values()].map(
      async ({ name, shape }): Promise<TensorToWrite> => ({ name, dtype, shape, data: await file.readFloat32(name) }),
    ),
  );
  const tensors = all.filter(({ name }) => name !== HEAD);
  const embeddings = tensors.find(({ name }) => EMBEDDINGS.test(name));
  if (!embeddings) throw new Error(`${name} has no embeddings`);
  const other = { ...embeddings, data: embeddings.data.map((value) => -value) };
  return { config: { ...Object(json), time_step_limit: null }, tensors, embeddings, other };
}

const asHead = (table: TensorToWrite): TensorToWrite => ({ ...table, name: HEAD });

async function folderOf(config: object, tensors: readonly TensorToWrite[], tied: boolean): Promise<string> {
  return makeFolder({
    'config.json': { ...config, tie_word_embeddings: tied },
    'model.safetensors': writeSafetensors(tensors),
  });
}

/** Logits, and what was warned of. */
async function run(source: string, options: LoadOptions = {}) {
  const warnings: string[] = [];
  await using llm = await LLM.load(source, {
    device: 'reference',
    ...options,
    onWarning: (message) => warnings.push(message),
  });
  const { tieWordEmbeddings } = llm.config;
  const logits = await llm.logits(PROMPT);
  return { logits, bits: bits(logits), warnings, tieWordEmbeddings };
}

const MODELS = ['mamba2', 'bamba', 'granitemoehybrid', 'falcon_h1', 'nemotron_h', 'zamba2'];

describe.each(MODELS)('%s, whose config ties the head to the embeddings', (name) => {
  test('a stored head that differs is used, with a warning', async () => {
    const { config, tensors, other } = await partsOf(name);
    const stored = [...tensors, asHead(other)];
    const expected = await run(await folderOf(config, stored, false));
    expect(expected.warnings).toEqual([]);
    const found = await run(await folderOf(config, stored, true));
    expect(found.bits).toEqual(expected.bits);
    expect(found.tieWordEmbeddings).toBe(false);
    expect(found.warnings).toEqual([expect.stringMatching(/lm_head\.weight.*tie_word_embeddings to false/)]);
  });

  test('a stored head that is the same stays tied; one that is alone is both', async () => {
    const { config, tensors, embeddings } = await partsOf(name);
    const expected = await run(await folderOf(config, tensors, true));
    const alone = [...tensors.filter((tensor) => tensor !== embeddings), asHead(embeddings)];
    for (const stored of [[asHead(embeddings), ...tensors], alone]) {
      const found = await run(await folderOf(config, stored, true));
      expect(found).toEqual({ ...expected, tieWordEmbeddings: true, warnings: [] });
    }
    await expect(run(await folderOf(config, alone, false))).rejects.toThrow(MissingTensorError);
  });
});

describe('a tied head besides embeddings', () => {
  test.each(['F16', 'BF16'] as const)('stored as %s', async (dtype) => {
    const { config, tensors, embeddings, other } = await partsOf('mamba2', dtype);
    const same = await run(await folderOf(config, [...tensors, asHead(embeddings)], true));
    expect(same.bits).toEqual((await run(await folderOf(config, tensors, true))).bits);
    expect(same.warnings).toEqual([]);
    const differs = await run(await folderOf(config, [...tensors, asHead(other)], true));
    expect(differs.bits).not.toEqual(same.bits);
    expect(differs.warnings).toHaveLength(1);
  });

  test('of another dtype is the same where its values are', async () => {
    const { config, tensors, embeddings } = await partsOf('mamba2', 'BF16');
    const wide = { ...asHead(embeddings), dtype: 'F32' as const };
    const rounded = { ...wide, data: Float32Array.from(embeddings.data, (x) => Math.fround(x)) };
    const kept = new Float32Array(await roundedTo('BF16', embeddings));
    expect((await run(await folderOf(config, [...tensors, { ...wide, data: kept }], true))).warnings).toEqual([]);
    expect((await run(await folderOf(config, [...tensors, rounded], true))).warnings).toHaveLength(1);
  });

  test('differs by one value in its last row', async () => {
    const { config, tensors, embeddings } = await partsOf('mamba2');
    const data = embeddings.data.slice();
    data[data.length - 1] += 1;
    const { warnings } = await run(await folderOf(config, [...tensors, asHead({ ...embeddings, data })], true));
    expect(warnings).toHaveLength(1);
  });

  test('without the rows that pad the embeddings is the same; with others, or other columns, it does not fit', async () => {
    const { config, tensors, embeddings, other } = await partsOf('mamba2');
    const [rows, columns] = embeddings.shape;
    const cut = ({ data }: TensorToWrite, [r, c]: readonly [number, number]) =>
      asHead({ ...embeddings, shape: [r, c], data: data.slice(0, r * c) });
    const expected = await run(await folderOf(config, tensors, true));
    const found = await run(await folderOf(config, [...tensors, cut(embeddings, [rows - 3, columns])], true));
    expect(found).toEqual(expected);
    for (const head of [cut(other, [rows - 3, columns]), cut(embeddings, [rows, columns - 1])]) {
      await expect(run(await folderOf(config, [...tensors, head], true))).rejects.toThrow(WeightShapeError);
    }
  });

  test('is decided once for all ranks', async () => {
    const { config, tensors, embeddings, other } = await partsOf('mamba2');
    for (const table of [embeddings, other]) {
      const folder = await folderOf(config, [...tensors, asHead(table)], true);
      const [one, two] = [await run(folder), await run(folder, { tensorParallelSize: 2 })];
      expect(two.warnings).toEqual(one.warnings);
      expect(Math.max(...two.logits.map((value, i) => Math.abs(value - one.logits[i])))).toBeLessThan(1e-4);
    }
  });

  test('that differs is the same model when it is loaded again', async () => {
    const { config, tensors, other } = await partsOf('mamba2');
    const folder = await folderOf(config, [...tensors, asHead(other)], true);
    const { context, texts } = await loadModel(folder, { device: 'reference', recover: true, onWarning: () => {} });
    const again = await context.reloadExecutor?.(new AbortController().signal);
    expect(again).toBeDefined();
    await Promise.all([again?.dispose(), context.executor.dispose(), texts.dispose()]);
  });

  test('in a shard of its own', async () => {
    const { config, tensors, other } = await partsOf('mamba2');
    const folder = await makeFolder({
      'config.json': { ...config, tie_word_embeddings: true },
      'model.safetensors.index.json': {
        weight_map: {
          ...Object.fromEntries(tensors.map(({ name }) => [name, 'a.safetensors'])),
          [HEAD]: 'b.safetensors',
        },
      },
      'a.safetensors': writeSafetensors(tensors),
      'b.safetensors': writeSafetensors([asHead(other)]),
    });
    const expected = await run(await folderOf(config, [...tensors, asHead(other)], false));
    expect((await run(folder)).bits).toEqual(expected.bits);
  });

  test.each([true, false])('at a URL, ranges given: %s', async (ranges) => {
    const { config, tensors, embeddings, other } = await partsOf('mamba2');
    for (const [table, count] of [
      [embeddings, 0],
      [other, 1],
    ] as const) {
      const folder = await folderOf(config, [...tensors, asHead(table)], true);
      const server = await StaticServer.start({ folders: { '/m/': folder }, ranges });
      onTestFinished(() => server.close());
      expect((await run(`${server.origin}/m`)).warnings).toHaveLength(count);
    }
  });

  test('inspect says so', async () => {
    const { config, tensors, other } = await partsOf('mamba2');
    const folder = await folderOf(config, [...tensors, asHead(other)], true);
    const { code, stdout, stderr } = await runCli(['inspect', folder, '--json']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringMatching(/^warning: .*lm_head\.weight/) });
    const { parameters, warnings } = JSON.parse(stdout);
    expect(warnings).toHaveLength(1);
    expect(parameters.embeddings).toBe(2 * other.data.length);
  });
});

/** Values as a dtype keeps them. */
async function roundedTo(dtype: TensorToWrite['dtype'], tensor: TensorToWrite): Promise<Float32Array> {
  const folder = await makeFolder({ x: writeSafetensors([{ ...tensor, dtype }]) });
  const source = await openFile(`${folder}/x`);
  onTestFinished(() => source.close());
  return (await SafetensorsFile.open(source)).readFloat32(tensor.name);
}

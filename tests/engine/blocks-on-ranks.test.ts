import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { BlockWeightWriter, LinearWeight, LinearWeightWriter } from '../../src/backends/contract/linear.ts';
import { ReferenceBackend } from '../../src/backends/reference/reference-backend.ts';
import { Checkpoint } from '../../src/checkpoint/checkpoint.ts';
import { singleProcess } from '../../src/distributed/process-group.ts';
import { LLM } from '../../src/engine/llm.ts';
import { headerCheck } from '../../src/engine/weights/header-check.ts';
import { loadWeights, matchNames } from '../../src/engine/weights/load-weights.ts';
import { storedFormats } from '../../src/engine/weights/stored-formats.ts';
import { storageInBlocks } from '../../src/engine/weights/weight-storage.ts';
import { LayerContext } from '../../src/layers/parameters/layer-context.ts';
import { ParameterTable } from '../../src/layers/parameters/parameter.ts';
import { defineModel } from '../../src/models/registry.ts';
import { BLOCK_FORMATS, type BlockFormat, blockRowBytes } from '../../src/tensor/block-formats.ts';
import type { WeightDType } from '../../src/tensor/dtype.ts';
import { Hash } from '../../src/util/hash.ts';
import { CASES } from '../checkpoint/quantization/cases.ts';
import { quantizedFolder } from '../checkpoint/quantization/quantized-folder.ts';
import { bytesOf } from '../checkpoint/quantization/raw-safetensors.ts';
import { largestDifference } from '../numbers.ts';
import { few, grid, isFullRun } from '../runs.ts';
import { blockValues } from '../tensor/blocks.ts';

const ALL_FORMATS = new Set(Object.keys(BLOCK_FORMATS) as BlockFormat[]);

interface Recorded {
  readonly dtype: string;
  readonly columns: number;
  readonly values: Float32Array;
}

/** Remembers the values of all matrices. */
class RecordingBackend extends ReferenceBackend {
  readonly matrices: Recorded[] = [];
  readonly blockFormats = ALL_FORMATS;

  override linearWeightWriter(outFeatures: number, inFeatures: number, dtype: WeightDType): LinearWeightWriter {
    const values = new Float32Array(outFeatures * inFeatures);
    this.matrices.push({ dtype, columns: inFeatures, values });
    const weight: LinearWeight = { outFeatures, inFeatures, dtype };
    return { writeRows: (firstRow, rows) => values.set(rows, firstRow * inFeatures), finish: () => weight };
  }

  blockWeightWriter(outFeatures: number, inFeatures: number, dtype: BlockFormat): BlockWeightWriter {
    const values = new Float32Array(outFeatures * inFeatures);
    this.matrices.push({ dtype, columns: inFeatures, values });
    return {
      writeBlocks: (firstRow, blocks) => {
        expect(blocks.length % blockRowBytes(dtype, inFeatures)).toBe(0);
        values.set(blockValues(dtype, blocks), firstRow * inFeatures);
      },
      finish: () => ({ outFeatures, inFeatures, dtype }),
    };
  }
}

/** Hashes of the rows of a matrix. A zero has no sign that matters. */
function rowsOf({ columns, values }: Recorded): string[] {
  return Array.from({ length: values.length / columns }, (_, row) => {
    const hash = new Hash();
    hash.addBytes(bytesOf(values.slice(row * columns, (row + 1) * columns).map((value) => value + 0)));
    return `${hash}`;
  });
}

/** A rank's matrices as `dtype` keeps them. */
async function matricesOf(checkpoint: Checkpoint, rank: number, size: number, dtype: 'stored' | 'float32') {
  const definition = defineModel(checkpoint.config, checkpoint.names());
  const backend = new RecordingBackend();
  const formats = storedFormats(checkpoint, definition, ALL_FORMATS);
  const { weightDType, quantConfig } = storageInBlocks(dtype, 'float32', formats);
  const context = new LayerContext(backend, { ...singleProcess, rank, size }, weightDType, {
    check: headerCheck(definition, checkpoint),
  });
  const model = definition.create(context, quantConfig);
  const pairs = matchNames(new ParameterTable(model), definition, checkpoint);
  await loadWeights(model, pairs, checkpoint, { name: 'model', checkFinite: true });
  return backend.matrices;
}

/** That all ranks hold the values that they hold as float32. Returns the formats of the matrices. */
async function expectSameValues(checkpoint: Checkpoint, size: number): Promise<Set<string>> {
  const dtypes = new Set<string>();
  for (let rank = 0; rank < size; rank++) {
    const kept = await matricesOf(checkpoint, rank, size, 'stored');
    const floats = await matricesOf(checkpoint, rank, size, 'float32');
    for (const { dtype } of kept) dtypes.add(dtype);
    // Parts of a merged projection that have different formats are matrices of their own.
    expect(kept.flatMap(rowsOf).toSorted()).toEqual(floats.flatMap(rowsOf).toSorted());
  }
  return dtypes;
}

describe('a quantised folder in blocks has the values of float32', () => {
  const names = CASES.map(({ name }) => name);
  const all = grid(names.flatMap((name) => [1, 2, 4].map((ranks) => ({ name, ranks }))));
  const tried = all.filter((_, i) => isFullRun || i % 10 === 0);

  test.each(tried)('$name, $ranks ranks', async ({ name, ranks }) => {
    const quantized = CASES.find((each) => each.name === name);
    if (quantized === undefined) throw new Error(name);
    const checkpoint = await Checkpoint.open(await quantizedFolder(quantized));
    try {
      expect(checkpoint.quantization?.problem).toBeUndefined();
      const dtypes = await expectSameValues(checkpoint, ranks);
      const formats = checkpoint.names().flatMap((each) => checkpoint.tensor(each).blocks?.format ?? []);
      // Embeddings stay as they are stored where anything is kept in blocks.
      expect(dtypes).toEqual(new Set(formats.length > 0 ? [...formats, 'bfloat16'] : ['float32']));
    } finally {
      await checkpoint.close();
    }
  });
});

test.each(
  few(
    [
      ['FP8, blocks of 128x128', 1e-4],
      ['ModelOpt NVFP4', 0.05],
      ['AWQ', 0.05],
      ['GPTQ, 4 bits', 0.05],
      // Activations of 7 bits.
      ['compressed-tensors int-quantized', 0.1],
      ['compressed-tensors mxfp4-pack-quantized', 0.05],
    ] as const,
    1,
  ),
)(
  '%s on cpu: logits are near those of float32, and rows have the same bits in steps of any size',
  async (name, near) => {
    const quantized = CASES.find((each) => each.name === name);
    if (quantized === undefined) throw new Error(name);
    const folder = await quantizedFolder(quantized);
    const prompt = Array.from({ length: 40 }, (_, i) => (i * 7) % 64);
    for (const tensorParallelSize of few([2, 1, 4])) {
      const options = { device: 'cpu', tensorParallelSize } as const;
      await using floats = await LLM.load(folder, { ...options, dtype: 'float32' });
      await using kept = await LLM.load(folder, options);
      await using split = await LLM.load(folder, { ...options, maxNumBatchedTokens: 16, enablePrefixCaching: false });
      const [expected, found] = [await floats.logits(prompt), await kept.logits(prompt)];
      const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      expect(largestDifference(found, expected)).toBeLessThan(near * largest);
      expect(await split.logits(prompt)).toEqual(found);
    }
  },
);

describe('a GGUF file in blocks has the values of float32', () => {
  const file = (name: string) => fileURLToPath(new URL(`../goldens/gguf/${name}.gguf`, import.meta.url));
  const names = ['bamba-Q4_K_M', 'falcon-h1-Q4_K_M', 'nemotron-h-Q4_K_M'];

  test.each(
    few(
      names.flatMap((name) => [1, 2].map((ranks) => ({ name, ranks }))),
      2,
    ),
  )('$name, $ranks ranks', async ({ name, ranks }) => {
    const checkpoint = await Checkpoint.open(file(name));
    expect([...(await expectSameValues(checkpoint, ranks))]).toContain('Q4_K');
    await checkpoint.close();
  });
});

import { expect, test } from 'vitest';
import { CpuBackend } from '../../src/backends/cpu/cpu-backend.ts';
import { fastestKernels, loadKernels } from '../../src/backends/cpu/load-kernels.ts';
import { singleProcess } from '../../src/distributed/process-group.ts';
import { MergedColumnParallelLinear } from '../../src/layers/linear/merged-column-parallel-linear.ts';
import { LayerContext } from '../../src/layers/parameters/layer-context.ts';
import { ParameterTable } from '../../src/layers/parameters/parameter.ts';
import type { QuantizationConfig } from '../../src/layers/parameters/quantization.ts';
import { BLOCK_FORMATS, blockRowBytes, isBlockFormat } from '../../src/tensor/block-formats.ts';
import { SeededRandom } from './seeded.ts';

const [INPUTS, PART, ROWS] = [256, 20, 3];
const FORMATS = { 'attn.q_proj': 'Q4_K', 'attn.k_proj': 'Q4_K', 'attn.v_proj': 'Q6_K' } as const;
/** As a file has queries and keys in one format and values in another. */
const byPart: QuantizationConfig = {
  name: 'mixed',
  weightDType: (prefix) => Object.entries(FORMATS).find(([name]) => name === prefix)?.[1],
};

/** The layer's outputs, with all parts' weights and biases drawn from their names. */
async function outputs(size: number, rank: number) {
  const backend = new CpuBackend(loadKernels(fastestKernels()));
  const context = new LayerContext(backend, { ...singleProcess, size, rank }, 'float32');
  const parts = ['q_proj', 'k_proj', 'v_proj'].map((name) => ({
    name,
    specs: [{ fullDim: PART, extra: 0, blockSize: 1 }],
  }));
  const options = { bias: true, prefix: 'attn.qkv_proj', quantConfig: byPart };
  const layer = new MergedColumnParallelLinear(context, INPUTS, parts, options);
  const table = new ParameterTable(layer);
  // The last part comes first.
  for (const name of table.names().toReversed()) {
    const seed = name.charCodeAt(0);
    const dtype = table.dtype(name);
    if (!isBlockFormat(dtype)) {
      table.load(name, new SeededRandom(seed).floats(PART));
      continue;
    }
    const bytes = Uint8Array.from(new SeededRandom(seed).floats(PART * blockRowBytes(dtype, INPUTS), 0, 256));
    const { blockBytes, scales } = BLOCK_FORMATS[dtype];
    for (let block = 0; block < bytes.length; block += blockBytes)
      for (const scale of scales) bytes.set([0, 0x10], block + scale);
    const rowBytes = bytes.length / PART;
    await table.streamBlocks(name, 1000, async ({ firstRow, rows }) =>
      bytes.slice(firstRow * rowBytes, (firstRow + rows) * rowBytes),
    );
  }
  const run = async (x: Float32Array) => backend.read(layer.forward(backend.tensor(x, [ROWS, INPUTS])));
  const bias = (await run(new Float32Array(ROWS * INPUTS))).slice(0, (3 * PART) / size);
  return { y: await run(new SeededRandom(7).floats(ROWS * INPUTS)), bias };
}

test('parts of several formats, with biases, lie in the order of the parts on one rank and on two', async () => {
  const whole = await outputs(1, 0);
  const expected = ['q', 'k', 'v'].flatMap((letter) => [...new SeededRandom(letter.charCodeAt(0)).floats(PART)]);
  expect([...whole.bias]).toEqual(expected);
  const half = PART / 2;
  for (const rank of [0, 1]) {
    const shard = await outputs(2, rank);
    for (let row = 0; row < ROWS; row++) {
      for (let part = 0; part < 3; part++) {
        const own = shard.y.slice(row * 3 * half + part * half, row * 3 * half + (part + 1) * half);
        const begin = row * 3 * PART + part * PART + rank * half;
        expect(own).toEqual(whole.y.slice(begin, begin + half));
      }
    }
  }
});

import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { compileWithFastSimd } from '../../src/backends/cpu/kernels/engine-flags.ts';
import { ReferenceBackend } from '../../src/backends/reference/reference-backend.ts';
import {
  PRODUCT_INSTRUCTIONS,
  type ProductKernel,
  type ProductKind,
  productKernelModule,
  STEPS,
} from '../../src/cli/bench-product-kernel.ts';
import { type ReadKernel, readKernelModule } from '../../src/cli/bench-read-kernel.ts';
import { type BenchMachine, type BenchReport, type BenchRun, withShares } from '../../src/cli/bench-report.ts';
import { spreadOf } from '../../src/cli/bench-spread.ts';
import { singleProcess } from '../../src/distributed/process-group.ts';
import { loadSynthetic } from '../../src/engine/load-synthetic.ts';
import { MODEL_SHAPES, type ModelShape } from '../../src/engine/model-shapes.ts';
import { SyntheticWeight, syntheticWeight } from '../../src/engine/synthetic-weights.ts';
import { LayerContext } from '../../src/layers/parameters/layer-context.ts';
import { ParameterTable } from '../../src/layers/parameters/parameter.ts';
import { defineModel } from '../../src/models/registry.ts';
import { elementCount } from '../../src/tensor/tensor.ts';
import { runCli } from './run-cli.ts';

const SHORT = ['--prompt-tokens', '6,3', '--batch-sizes', '1,2', '--generate-tokens', '3', '--repetitions', '2'];

describe('bench', () => {
  test('--json: every work once per dtype, and traffic that follows from sizes and speed', async () => {
    const { code, stdout, stderr } = await runCli(['bench', ...SHORT, '--dtype', 'auto', '--dtype', 'int4', '--json']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const report: BenchReport = JSON.parse(stdout);
    expect(report).toMatchObject({ model: 'tiny-dts', device: 'auto', ranks: 1 });
    const { readBytesPerSecond, operationsPerSecond } = report.machine;
    expect(readBytesPerSecond).toBeGreaterThan(1e8);
    expect(operationsPerSecond.float32).toBeGreaterThan(1e8);
    expect(operationsPerSecond.int8).toBeGreaterThan(operationsPerSecond.float32);
    expect(report.results.map(({ dtype }) => dtype)).toEqual(['bfloat16', 'int4']);
    const { weightBytes, stateBytes } = JSON.parse((await runCli(['inspect', 'tiny-dts', '--json'])).stdout);
    for (const { dtype, bytes, measurements, loadSeconds, memory, peakMemoryBytes } of report.results) {
      const weights = weightBytes[dtype];
      const held = { weights, state: stateBytes.total };
      expect(bytes).toEqual({ ...held, weightsRead: weights, experts: { weights: 0, visited: 0 }, held });
      expect(loadSeconds).toBeGreaterThan(0);
      expect(memory.overhead).toBe(memory.loaded - memory.before - weights - 2 * stateBytes.total);
      expect(memory.peakWhileLoading).toBeGreaterThanOrEqual(memory.loaded);
      expect(peakMemoryBytes).toBeGreaterThanOrEqual(memory.peakWhileLoading);
      expect(measurements.map(({ work, batchSize, tokens }) => [work, batchSize, tokens])).toEqual([
        ['prefill', 1, 6],
        ['prefill', 1, 3],
        ['decode', 1, 3],
        ['decode', 2, 3],
        ['generate', 1, 3],
      ]);
      for (const { work, batchSize, tokensPerSecond, bytesPerSecond, bandwidthShare, ...rest } of measurements) {
        expect(rest.arithmeticShare).toBeGreaterThan(0);
        const { median, min, max } = tokensPerSecond;
        expect(min).toBeGreaterThan(0);
        expect(min <= median && median <= max).toBe(true);
        if (work === 'prefill') {
          expect([bytesPerSecond, bandwidthShare]).toEqual([null, null]);
          continue;
        }
        const expected = (median / batchSize) * (weights + 2 * batchSize * stateBytes.total);
        expect(bytesPerSecond).toBeCloseTo(expected, -3);
        expect(bandwidthShare).toBeCloseTo(expected / readBytesPerSecond, 6);
      }
    }
  });

  test('a hybrid, whose sequences have blocks as well', async () => {
    const folder = fileURLToPath(new URL('../goldens/bamba', import.meta.url));
    const sizes = ['--prompt-tokens', '40', '--batch-sizes', '2', '--generate-tokens', '30', '--repetitions', '1'];
    const { code, stdout, stderr } = await runCli(['bench', '--model', folder, ...sizes, '--json']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const report: BenchReport = JSON.parse(stdout);
    expect(report.results[0].measurements.map(({ work }) => work)).toEqual(['prefill', 'decode', 'generate']);
  });

  test('the table, of made-up weights on two ranks', async () => {
    const args = ['--prompt-tokens', '4', '--batch-sizes', '1', '--generate-tokens', '1', '--repetitions', '1'];
    const { code, stdout, stderr } = await runCli([
      ...['bench', '--shape', 'mamba2-130m', '--dtype', 'bfloat16', '--tensor-parallel-size', '2', ...args],
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^mamba2-130m on auto with 2 threads, Node \d.*\n/);
    expect(stdout).toMatch(
      /^with 2 threads memory reads [\d.]+ GB\/s, arithmetic peaks at [\d.]+ Gop\/s in float32, [\d.]+ Gop\/s in int8$/m,
    );
    expect(stdout).toMatch(
      /^million operations: 180\.2 of products and 23\.6 of the scan per token, 77\.2 of the head per row of logits$/m,
    );
    expect(stdout).toMatch(/^bfloat16: weights 258\.\d MB, state 19\.4 MB per sequence, loaded in [\d.]+ s$/m);
    expect(stdout).toMatch(
      /^memory: [\d.]+ MB once loaded, -?[\d.]+ MB of it over weights and states; peak [\d.]+ .?B while loading, [\d.]+ .?B in all$/m,
    );
    expect(stdout).toMatch(
      /^work +tokens\/s +min - max +memory traffic +of bandwidth +arithmetic +of peak\nprefill 4 +[\d.]+ +.*\ndecode 1 +/m,
    );
    expect(stdout).toMatch(/^generate 1 .*%$/m);
  });

  test('a model on two ranks costs less than 100 MB beyond its weights and states, while it is loaded too', async () => {
    const args = ['--prompt-tokens', '4', '--batch-sizes', '1', '--generate-tokens', '1', '--repetitions', '1'];
    const { stdout } = await runCli([
      ...['bench', '--shape', 'mamba2-130m', '--dtype', 'int8', '--tensor-parallel-size', '2', '--json', ...args],
    ]);
    const report: BenchReport = JSON.parse(stdout);
    const { memory, bytes } = report.results[0];
    expect(memory.overhead).toBeLessThan(100e6);
    const { weights, state } = bytes.held;
    expect(memory.peakWhileLoading - memory.before - weights - state).toBeLessThan(100e6);
    // Both ranks hold all plain norms and the only group: 256 rows of B and C a layer, and as many channels of the conv.
    const rows = 24 * 256;
    const extraWeights = rows * (768 + 4 * (768 / 128) + 4 * (4 + 1)) + 4 * 25 * 768;
    expect([weights - bytes.weights, state - bytes.state]).toEqual([extraWeights, 4 * rows * 3]);
  });

  test.concurrent.each([
    [['--shape', 'mamba2-130m', '--model', 'tiny-dts'], 2, /exclude each other/],
    [['--shape', 'mamba3'], 2, /expected one of: mamba2-130m/],
    [['--prompt-tokens', '512,x'], 2, /--prompt-tokens holds 'x'/],
    [['--batch-sizes', '0'], 2, /--batch-sizes holds '0'; expected an integer at least 1/],
    [['--batch-sizes', '1,,2'], 2, /--batch-sizes is '1,,2'/],
    [['--repetitions', '1.5'], 2, /--repetitions holds '1\.5'/],
    [['--tensor-parallel-size', '0'], 2, /--tensor-parallel-size is 0/],
    [['--dtype', 'float32,int3'], 1, /Unknown dtype 'int3'/],
  ])('%j is refused', async (args, code, message) => {
    const outcome = await runCli(['bench', ...args]);
    expect(outcome.stderr).toMatch(message);
    expect(outcome).toMatchObject({ code, stdout: '' });
  });
});

describe('what bench is made of', () => {
  test('the kernel that measures memory reads all of two regions, and nothing beside them', async () => {
    const memory = new WebAssembly.Memory({ initial: 1 });
    const { instance } = await WebAssembly.instantiate(readKernelModule(), { env: { memory } });
    const { read } = instance.exports as unknown as ReadKernel;
    const words = new Int32Array(memory.buffer).map((_, i) => Math.imul(i + 1, 0x9e3779b9));
    new Int32Array(memory.buffer).set(words);
    // The checksum is over each vector's first lane.
    const expected = (begin: number, end: number) =>
      words.subarray(begin / 4, end / 4).reduce((sum, word, i) => (i % 4 === 0 ? sum ^ word : sum), 0);
    for (const [first, second, bytes] of [
      [0, 32768, 32768],
      [64, 1024, 64],
      [8192, 128, 1024],
    ]) {
      const both = expected(first, first + bytes) ^ expected(second, second + bytes);
      expect(read(first, second, first + bytes)).toBe(both);
    }
  });

  test.each<[ProductKind, number, number]>([
    ['float32', 3, 4],
    ['fusedFloat32', 2, 4],
    ['int16', 2, 2],
    ['int8', 6, 4],
    ['int8', 1, 1],
  ])('the kernel that measures arithmetic sums products of %s, %i rows by %i vectors', (kind, rows, vectors) => {
    const memory = new WebAssembly.Memory({ initial: 2 });
    const module = compileWithFastSimd(productKernelModule(kind, rows, vectors));
    if (!module) throw new Error('This engine has no such instructions.');
    const { multiply } = new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as ProductKernel;
    const View = { float32: Float32Array, fusedFloat32: Float32Array, int8: Int8Array, int16: Int16Array }[kind];
    const Sums = View === Float32Array ? Float32Array : Int32Array;
    const perLane = PRODUCT_INSTRUCTIONS[kind].products / 4;
    const w = 4 * STEPS * rows;
    const out = w + 16 * STEPS * vectors;
    const xs = new View(memory.buffer, 0, rows * STEPS * perLane).map((_, i) => (i * 7) % 128);
    new View(memory.buffer, 0).set(xs);
    const ws = new View(memory.buffer, w, 4 * vectors * STEPS * perLane).map((_, i) => ((i * 5) % 255) - 127);
    new View(memory.buffer, w).set(ws);
    const expected = Array.from({ length: rows * vectors * 4 }, (_, i) => {
      const [row, lane] = [Math.floor(i / (4 * vectors)), i % (4 * vectors)];
      let sum = 0;
      for (let k = 0; k < STEPS; k++) {
        for (let j = 0; j < perLane; j++) {
          sum += xs[(row * STEPS + k) * perLane + j] * ws[(k * 4 * vectors + lane) * perLane + j];
        }
      }
      return sum;
    });
    multiply(0, w, out, 1);
    expect([...new Sums(memory.buffer, out, expected.length)]).toEqual(expected);
    multiply(0, w, out, 3);
    expect([...new Sums(memory.buffer, out, expected.length)]).toEqual(expected.map((sum) => 3 * sum));
  });

  test('shares follow from speed, sizes and limits', () => {
    const spread = { median: 10, min: 9, max: 11 };
    const machine: BenchMachine = {
      ...{ cpu: '', node: '', readBytesPerSecond: 1e6 },
      operationsPerSecond: { float32: 1e5, int8: 4e5 },
    };
    const shares = (dtype: BenchRun['dtype'], experts = { weights: 0, visited: 0 }) =>
      withShares(
        {
          ...{ dtype, loadSeconds: 1, peakMemoryBytes: 1, operations: { products: 1000, head: 400, scan: 50 } },
          bytes: { weights: 200, weightsRead: 100, experts, state: 20, held: { weights: 200, state: 20 } },
          memory: { before: 0, loaded: 0, peakWhileLoading: 0, overhead: 0 },
          measurements: [
            { work: 'prefill', batchSize: 1, tokens: 8, logitRows: 2, tokensPerSecond: spread },
            { work: 'decode', batchSize: 2, tokens: 8, logitRows: 8, tokensPerSecond: spread },
          ],
        },
        machine,
      ).measurements;
    const [prefill, decode] = shares('int4');
    expect([prefill.bytesPerSecond, prefill.bandwidthShare]).toEqual([null, null]);
    expect([prefill.productsPerSecond, prefill.scanPerSecond]).toEqual([11_000, 500]);
    expect(prefill.arithmeticShare).toBeCloseTo(11_000 / 4e5 + 500 / 1e5, 12);
    expect([decode.bytesPerSecond, decode.bandwidthShare]).toEqual([900, 0.0009]);
    // Two tokens that visit a quarter of the experts each leave nine sixteenths of them out.
    expect(shares('int4', { weights: 1600, visited: 1 / 4 })[1].bytesPerSecond).toBe(900 + 5 * 700);
    expect([decode.productsPerSecond, decode.scanPerSecond]).toEqual([14_000, 500]);
    expect(shares('bfloat16')[0].arithmeticShare).toBeCloseTo(11_500 / 1e5, 12);
  });

  test('spreads', () => {
    expect(spreadOf([3, 1, 2])).toEqual({ median: 2, min: 1, max: 3 });
    expect(spreadOf([4, 1, 2, 10])).toEqual({ median: 3, min: 1, max: 10 });
  });

  test.each<[ModelShape, number]>([
    ['mamba2-130m', 129e6],
    ['mamba2-370m', 368e6],
    ['mamba2-780m', 780e6],
    ['mamba2-1.3b', 1344e6],
    ['mamba2-2.7b', 2703e6],
    ['codestral-7b', 7285e6],
    ['granite-4.0-h-350m', 340e6],
    ['granite-4.0-h-1b', 1460e6],
    ['granite-4.0-h-tiny', 6939e6],
    ['granite-4.0-h-tiny-quarter', 1850e6],
    ['falcon-h1-0.5b', 521e6],
  ])('%s has the published number of parameters', (shape, parameters) => {
    const model = defineModel(MODEL_SHAPES[shape]).create(
      new LayerContext(new ReferenceBackend(), singleProcess, 'float32'),
    );
    const table = new ParameterTable(model);
    const total = table.names().reduce((sum, name) => sum + elementCount(table.shape(name)), 0);
    expect(total / parameters).toBeCloseTo(1, 2);
  });

  test('made-up weights depend on name and seed, and lie where a fresh model has them', () => {
    const weight = syntheticWeight('layers.0.in_proj.weight', [100, 64], 0);
    expect(syntheticWeight('layers.0.in_proj.weight', [100, 64], 0)).toEqual(weight);
    expect(syntheticWeight('layers.1.in_proj.weight', [100, 64], 0)).not.toEqual(weight);
    expect(syntheticWeight('layers.0.in_proj.weight', [100, 64], 1)).not.toEqual(weight);
    const mean = weight.reduce((sum, value) => sum + value, 0) / weight.length;
    expect(Math.abs(mean)).toBeLessThan(0.01);
    expect(Math.max(...weight.map(Math.abs))).toBeCloseTo(1 / 8, 3);
    const decay = syntheticWeight('a.A_log', [1000], 0);
    expect([Math.min(...decay) >= 0, Math.max(...decay) <= Math.fround(Math.log(16))]).toEqual([true, true]);
    const dt = syntheticWeight('a.dt_bias', [1000], 0).map((bias) => Math.log1p(Math.exp(bias)));
    expect(Math.min(...dt)).toBeCloseTo(0.001, 3);
    expect(Math.max(...dt)).toBeCloseTo(0.1, 2);
  });

  test.each(['in_proj.weight', 'A_log', 'dt_bias', 'conv1d.weight'])(
    'made-up rows of %s are those of the whole, in any order',
    (name) => {
      const shape = { 'in_proj.weight': [20, 6], 'conv1d.weight': [20, 1, 4] }[name] ?? [20];
      const size = elementCount(shape.slice(1));
      const whole = syntheticWeight(name, shape, 3);
      const weight = new SyntheticWeight(name, shape, 3);
      const scratch = new Float32Array(5 * size).fill(9);
      for (const [firstRow, rows] of [
        [4, 5],
        [9, 1],
        [15, 5],
        [2, 3],
        [0, 20],
      ]) {
        const part = whole.slice(firstRow * size, (firstRow + rows) * size);
        expect(weight.read({ firstRow, rows }, scratch)).toEqual(part);
      }
    },
  );

  test('any number of ranks makes the same model', async () => {
    const sizes = { hidden_size: 32, num_hidden_layers: 2, num_heads: 4, head_dim: 16, n_groups: 1, state_size: 8 };
    const source = { config: { model_type: 'mamba2', vocab_size: 64, ...sizes }, seed: 7 };
    const options = { name: 'small', device: 'reference', dtype: 'auto', slots: 1, checkFinite: false } as const;
    const sequences = [{ slot: 0, numComputedTokens: 0, tokenIds: [1, 2, 3, 60] }];
    const logits = async (ranks: number) => {
      const executor = await loadSynthetic(source, ranks, options);
      const result = await executor.execute({ sequences, logits: 'last' });
      await executor.dispose();
      return result.logits;
    };
    const [one, two] = await Promise.all([logits(1), logits(2)]);
    expect(one).toHaveLength(64);
    expect(Math.max(...one.map(Math.abs))).toBeGreaterThan(0.01);
    for (const [i, value] of one.entries()) expect(two[i]).toBeCloseTo(value, 4);
  });
});

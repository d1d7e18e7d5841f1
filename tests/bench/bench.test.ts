import { describe, expect, test } from 'vitest';
import { ReferenceBackend } from '../../src/backends/reference/reference-backend.ts';
import {
  compileProducts,
  compileReadKernel,
  instantiateBenchKernels,
  OPERANDS,
  PRODUCTS,
  type ProductKind,
  productKernel,
  type Rows,
  STEPS,
  VECTORS,
} from '../../src/bench/bench-kernels.ts';
import { type BenchMachine, type BenchRun, withShares } from '../../src/bench/bench-report.ts';
import { loadSynthetic } from '../../src/bench/load-synthetic.ts';
import { MODEL_SHAPES, type ModelShape } from '../../src/bench/model-shapes.ts';
import { spreadOf } from '../../src/bench/spread.ts';
import { SyntheticWeight, syntheticWeight } from '../../src/bench/synthetic-weights.ts';
import { singleProcess } from '../../src/distributed/process-group.ts';
import { LayerContext } from '../../src/layers/parameters/layer-context.ts';
import { ParameterTable } from '../../src/layers/parameters/parameter.ts';
import { defineModel } from '../../src/models/registry.ts';
import { elementCount } from '../../src/tensor/tensor.ts';

describe('what bench is made of', () => {
  test('the kernel that measures memory reads all of two regions, and nothing besides', () => {
    const memory = new WebAssembly.Memory({ initial: 1 });
    const { read } = instantiateBenchKernels(compileReadKernel(), memory);
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

  test.each<[ProductKind, Rows]>([
    ['float32', 3],
    ['fusedFloat32', 2],
    ['fusedFloat32', 6],
    ['int16', 2],
    ['int16', 4],
    ['int8', 6],
    ['int8', 3],
    ['pairs', 4],
    ['pairs', 6],
  ])('the kernel that measures arithmetic sums products of %s by %i rows', (kind, rows) => {
    const memory = new WebAssembly.Memory({ initial: 2 });
    const module = compileProducts(kind);
    if (!module) throw new Error('This engine has no such instructions.');
    const multiply = instantiateBenchKernels(module, memory)[productKernel(kind, rows)];
    const integers = { int8: Int8Array, pairs: Int8Array, int16: Int16Array };
    const View = kind === 'float32' || kind === 'fusedFloat32' ? Float32Array : integers[kind];
    const Sums = View === Float32Array ? Float32Array : Int32Array;
    const perLane = PRODUCTS[kind].perInstruction / 4;
    const w = OPERANDS + 4 * STEPS * rows;
    const out = w + 16 * STEPS * VECTORS;
    const xs = new View(memory.buffer, OPERANDS, rows * STEPS * perLane).map((_, i) => (i * 7) % 128);
    new View(memory.buffer, OPERANDS).set(xs);
    const ws = new View(memory.buffer, w, 4 * VECTORS * STEPS * perLane).map((_, i) => ((i * 5) % 255) - 127);
    new View(memory.buffer, w).set(ws);
    const expected = Array.from({ length: rows * VECTORS * 4 }, (_, i) => {
      const [row, lane] = [Math.floor(i / (4 * VECTORS)), i % (4 * VECTORS)];
      let sum = 0;
      for (let k = 0; k < STEPS; k++) {
        for (let j = 0; j < perLane; j++) {
          sum += xs[(row * STEPS + k) * perLane + j] * ws[(k * 4 * VECTORS + lane) * perLane + j];
        }
      }
      return sum;
    });
    multiply(OPERANDS, w, out, 1);
    expect([...new Sums(memory.buffer, out, expected.length)]).toEqual(expected);
    multiply(OPERANDS, w, out, 3);
    expect([...new Sums(memory.buffer, out, expected.length)]).toEqual(expected.map((sum) => 3 * sum));
  });

  test('shares follow from speed, sizes and limits', () => {
    const spread = { median: 10, min: 9, max: 11 };
    const machine: BenchMachine = {
      ...{ cpu: '', node: '', kernels: { prompt: 'dot', decode: 'dot' }, readBytesPerSecond: 1e6 },
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
    const weight = syntheticWeight('layers.0.in_proj.weight', 'projection', [100, 64], 0);
    expect(syntheticWeight('layers.0.in_proj.weight', 'projection', [100, 64], 0)).toEqual(weight);
    expect(syntheticWeight('layers.1.in_proj.weight', 'projection', [100, 64], 0)).not.toEqual(weight);
    expect(syntheticWeight('layers.0.in_proj.weight', 'projection', [100, 64], 1)).not.toEqual(weight);
    const mean = weight.reduce((sum, value) => sum + value, 0) / weight.length;
    expect(Math.abs(mean)).toBeLessThan(0.01);
    expect(Math.max(...weight.map(Math.abs))).toBeCloseTo(1 / 8, 3);
    const decay = syntheticWeight('a.A_log', 'logDecay', [1000], 0);
    expect([Math.min(...decay) >= 0, Math.max(...decay) <= Math.fround(Math.log(16))]).toEqual([true, true]);
    const dt = syntheticWeight('a.dt_bias', 'stepBias', [1000], 0).map((bias) => Math.log1p(Math.exp(bias)));
    expect(Math.min(...dt)).toBeCloseTo(0.001, 3);
    expect(Math.max(...dt)).toBeCloseTo(0.1, 2);
  });

  test.each([
    ['projection', [20, 6]],
    ['logDecay', [20]],
    ['stepBias', [20]],
    ['conv', [20, 1, 4]],
  ] as const)('synthetic rows of a weight that is a %s are those of the whole, in any order', (role, shape) => {
    const size = elementCount(shape.slice(1));
    const whole = syntheticWeight('some.weight', role, shape, 3);
    const weight = new SyntheticWeight('some.weight', role, shape, 3);
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
  });

  test('any number of ranks makes the same model', async () => {
    const sizes = { hidden_size: 32, num_hidden_layers: 2, num_heads: 4, head_dim: 16, n_groups: 1, state_size: 8 };
    const source = { config: { model_type: 'mamba2', vocab_size: 64, ...sizes }, seed: 7 };
    const options = { name: 'small', device: 'reference', dtype: 'stored', slots: 1, checkFinite: false } as const;
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

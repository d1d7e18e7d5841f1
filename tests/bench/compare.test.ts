import { describe, expect, test } from 'vitest';
import { readCompareOptions } from '../../bench/compare-options.ts';
import { compare, describeComparison, type Round } from '../../bench/comparison.ts';
import { readGpu } from '../../bench/gpu.ts';
import { batchedArguments, buildFor, singleArguments } from '../../bench/llama-cpp.ts';
import { makeNoise, parameterCount, randomBlocks } from '../../bench/synthetic-gguf.ts';
import { Q4_K, Q6_K } from '../../src/checkpoint/gguf/types/k-quants.ts';
import { Q4_0, Q8_0 } from '../../src/checkpoint/gguf/types/simple-quants.ts';

describe('comparing with other programs', () => {
  test('a processor does less at once than a GPU, and does it once', () => {
    expect(readCompareOptions([], 6)).toEqual({
      ...{ action: 'compare', peer: 'llama.cpp', device: 'cpu', kind: 'native', shapes: ['mamba2-130m'] },
      workload: {
        ...{ threads: 6, promptTokens: [512, 2048], generateTokens: 32, sequences: 16, repetitions: 1 },
        ...{ states: 'float32', matmulPrecision: 'high' },
      },
      ...{ dtypes: undefined, rounds: 5, json: false },
    });
    const { device, shapes, dtypes, workload } = readCompareOptions(
      ['--device', 'cuda', '--shapes', 'granite-4.0-h-tiny,mamba2-130m', '--dtypes', 'float16,Q8_0'],
      16,
    );
    expect([device, shapes, dtypes]).toEqual(['cuda', ['granite-4.0-h-tiny', 'mamba2-130m'], ['float16', 'Q8_0']]);
    expect(workload).toMatchObject({ threads: 4, sequences: 64, generateTokens: 128, repetitions: 5 });
    const quick = readCompareOptions(['--device', 'cuda', '--quick', '--sequences', '8', '--repetitions', '2'], 2);
    expect(quick).toMatchObject({
      rounds: 1,
      workload: { threads: 2, promptTokens: [64], sequences: 8, repetitions: 2 },
    });
  });

  test.each([
    ['--device tpu', "--device holds 'tpu'; expected one of: cpu, cuda."],
    ['--shapes mamba2-130m,none', "--shapes holds 'none'; expected one of: mamba2-130m, "],
    ['--dtypes int3', "--dtypes holds 'int3'; expected one of: float32, float16, "],
    ['--device cuda --cpu avx2', "--cpu is 'avx2', but with '--device cuda' both sides run on the GPU."],
    ['--matmul-precision low', "--matmul-precision holds 'low'; expected one of: high, medium."],
    ['--sequences 0', "--sequences is '0'; expected an integer at least 1."],
  ])('%s is refused', (line, message) => {
    expect(() => readCompareOptions(line.split(' '))).toThrow(message);
  });

  test('the first GPU is what nvidia-smi says, and llama.cpp is built for it alone', () => {
    const gpu = readGpu('NVIDIA H200, 580.159.04, 9.0\nNVIDIA GeForce RTX 4090, 580.159.04, 8.9\n');
    expect(gpu).toEqual({ model: 'NVIDIA H200', driver: '580.159.04', computeCapability: '9.0' });
    const { name, options } = buildFor({ device: 'cuda', gpu });
    expect(name).toBe('build-cuda-90-real');
    expect(options).toEqual(expect.arrayContaining(['-DGGML_CUDA=ON', '-DCMAKE_CUDA_ARCHITECTURES=90-real']));
    expect(buildFor({ device: 'cpu', kind: 'avx2' }).name).toBe('build-avx2');
    expect(() => readGpu('No devices were found\n')).toThrow("nvidia-smi says 'No devices were found'");
  });

  test("llama.cpp's programs get all layers on one GPU, and its figures a run for warming up", () => {
    const { workload } = readCompareOptions(['--device', 'cuda', '--sequences', '2'], 4);
    const work = { ...workload, shape: 'mamba2-130m' } as const;
    const single = singleArguments('m.gguf', work, 'cuda').join(' ');
    expect(single).toBe('-m m.gguf -t 4 -ngl 99 -sm none -p 512,2048 -n 128 -r 5 -o json -ub 512,2048');
    const batched = batchedArguments('m.gguf', work, 'cuda').join(' ');
    expect(batched).toBe('-m m.gguf -t 4 -ngl 99 -sm none -c 272 -npp 8 -ntg 128 -npl 2,2 --output-format jsonl');
    expect(singleArguments('m.gguf', work, 'cpu').join(' ')).toBe('-m m.gguf -t 4 -p 512,2048 -n 128 -r 5 -o json');
    expect(batchedArguments('m.gguf', work, 'cpu')).toContain('2');
  });

  test('each shape and dtype has its own medians and ratios', () => {
    const round = (shape: Round['shape'], ours: number, theirs: number): Round => ({
      ...{ shape, dtype: 'Q8_0', theirs: new Map([['decode', theirs]]) },
      ours: { rates: new Map([['decode', ours]]), kernels: { prompt: 'dot', decode: 'dot' } },
    });
    const works = compare([round('mamba2-130m', 30, 10), round('codestral-7b', 5, 10), round('mamba2-130m', 50, 30)]);
    expect(works.map(({ shape, ratio }) => [shape, ratio])).toEqual([
      ['mamba2-130m', 2],
      ['codestral-7b', 0.5],
    ]);
    const peer = { name: 'llama.cpp', version: '', formats: { Q8_0: 'Q8_0' }, defaultDTypes: () => [] } as const;
    const unused = { prepare: async () => undefined, run: async () => new Map() };
    const table = describeComparison(works, { ...peer, ...unused });
    expect(table).toContain('codestral-7b, Q8_0 / Q8_0, decode');
    expect(describeComparison(works.slice(0, 1), { ...peer, ...unused })).not.toContain('mamba2-130m');
  });

  test.each([
    ['Q8_0', Q8_0],
    ['Q4_0', Q4_0],
    ['Q4_K', Q4_K],
    ['Q6_K', Q6_K],
  ] as const)('random blocks of %s have the values of a fresh model', (format, { blockValues, dequantize }) => {
    const [rows, columns] = [64, 1024];
    const blocks = new Uint8Array(randomBlocks(format, [rows, columns], makeNoise()));
    const values = new Float32Array(rows * columns);
    dequantize?.(blocks, values.length / blockValues, values);
    const limit = 1 / Math.sqrt(columns);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    expect(Math.abs(mean)).toBeLessThan(limit / 10);
    const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    expect(largest / limit).toBeGreaterThan(0.5);
    expect(largest / limit).toBeLessThan(2);
  });

  test('a shape has its number of weights', () => {
    expect(parameterCount('granite-4.0-h-tiny') / 6939e6).toBeCloseTo(1, 3);
  });
});

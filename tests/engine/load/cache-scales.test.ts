import { describe, expect, test } from 'vitest';
import { ReferenceBackend } from '../../../src/backends/reference/reference-backend.ts';
import type { StoredTensor } from '../../../src/checkpoint/files/stored-tensor.ts';
import { quantizedCaches } from '../../../src/checkpoint/quantization/quantized-caches.ts';
import { singleProcess } from '../../../src/distributed/process-group.ts';
import { readCacheScales } from '../../../src/engine/weights/cache-scales.ts';
import { ConfigError } from '../../../src/errors.ts';
import { Attention } from '../../../src/layers/attention/attention.ts';
import { buildAttentionMetadata } from '../../../src/layers/attention/attention-metadata.ts';
import { LayerContext } from '../../../src/layers/parameters/layer-context.ts';
import { ParameterTable } from '../../../src/layers/parameters/parameter.ts';
import { SeededRandom } from '../../layers/seeded.ts';

describe('scales of keys and values', () => {
  /** Scales of layers named by letters. */
  const read = (scales: Record<string, readonly number[]>, layers: string) => {
    const stored = Object.entries(scales).map(([name, values]): [string, StoredTensor] => [
      name,
      { readFloat32: async () => Float32Array.from(values) } as unknown as StoredTensor,
    ]);
    const caches = quantizedCaches({}, new Map(stored));
    const checkpoint = {
      quantization: { method: '', problem: undefined, warnings: [], zeroBiases: new Set(''), caches },
    };
    const parameterName = (name: string) => (name.startsWith('-') ? undefined : `own.${name}`);
    const sizes = [...layers].map((letter) => ({ prefix: `own.${letter}` }));
    return readCacheScales([...sizes, {}], { parameterName }, checkpoint);
  };

  test('are found by the names that tools give them; what is missing is the other one, or 1', async () => {
    const scales = {
      'a.k_scale': [0.5],
      'a.v_scale': [0.25],
      'b.k_proj.k_scale': [2],
      'b.v_proj.v_scale': [4],
      'c.kv_scale': [8],
      'd.v_scale': [16],
      'e.k_scale': [-1],
      'f.k_scale': [Number.NaN],
      'f.v_scale': [0],
      '-.k_scale': [3, 3],
      'b.q_scale': [9],
    };
    const both = (scale: number) => ({ key: scale, value: scale });
    expect(await read(scales, 'abcdefg')).toEqual([
      { key: 0.5, value: 0.25 },
      { key: 2, value: 4 },
      both(8),
      both(16),
      ...new Array(4).fill(both(1)),
    ]);
    await expect(read({ 'a.k_scale': [1, 2] }, 'a')).rejects.toThrow(ConfigError);
  });

  test.each([
    [{ kv_cache_scheme: { type: 'float', num_bits: 8, strategy: 'tensor', dynamic: false } }, true],
    [{ kv_cache_scheme: { num_bits: 8 } }, true],
    [{ kv_cache_scheme: { type: 'float', num_bits: 8, strategy: 'attn_head' } }, false],
    [{ kv_cache_scheme: { type: 'int', num_bits: 8 } }, false],
    [{ kv_cache_scheme: { type: 'float', num_bits: 4 } }, false],
    [{ kv_cache_scheme: null, kv_cache_quant_algo: 'fp8' }, true],
    [{ kv_cache_quant_algo: 'NVFP4' }, false],
    [{}, false],
  ])('are for a cache in FP8 where settings say so: %j', (settings, isFp8) => {
    expect(quantizedCaches(settings, new Map()).isFp8).toBe(isFp8);
  });
});

test('keys and values that are only stored are those that attention stores, with the scales of their cache', async () => {
  const backend = new ReferenceBackend();
  const [hiddenSize, T] = [6, 3];
  const attention = new Attention(new LayerContext(backend, singleProcess, 'float32'), {
    ...{ hiddenSize, numHeads: 2, numKvHeads: 1, headDim: 4, bias: false, prefix: 'own' },
  });
  const random = new SeededRandom(1);
  const table = new ParameterTable(attention);
  for (const name of table.names()) {
    table.load(name, random.floats(table.shape(name).reduce((a, b) => a * b)));
  }
  const x = backend.tensor(random.floats(T * hiddenSize), [T, hiddenSize]);
  const sequences = [{ slot: 0, blocks: [1], numComputedTokens: 0, numTokens: T }];
  const metadata = buildAttentionMetadata(backend, sequences, 4);
  const caches = [0, 1].map(() => ({
    keyCache: backend.zeros([2, 4, 1, 4]),
    valueCache: backend.zeros([2, 4, 1, 4]),
    keyScale: 0.5,
    valueScale: 0.125,
  }));
  const [stored, attended] = caches;
  attention.store(x, stored, metadata.slotMapping);
  attention.forward(x, { kvCache: attended, metadata: { attention: metadata } as never });
  for (const name of ['keyCache', 'valueCache'] as const) {
    const values = await backend.read(stored[name]);
    expect(values.some((value) => value !== 0)).toBe(true);
    expect(values).toEqual(await backend.read(attended[name]));
  }
});

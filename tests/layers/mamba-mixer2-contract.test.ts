import { describe, expect, test } from 'vitest';
import { ReferenceBackend } from '../../src/backends/reference/reference-backend.ts';
import { type ProcessGroup, singleProcess } from '../../src/distributed/process-group.ts';
import {
  ArgumentError,
  DuplicateLayerError,
  MetadataError,
  ShapeError,
  ShardingError,
  UnexpectedTensorError,
} from '../../src/errors.ts';
import { MambaMixer2 } from '../../src/layers/mamba/mamba-mixer2.ts';
import type { MambaMixer2Options } from '../../src/layers/mamba/mamba-mixer2-options.ts';
import { buildMamba2Metadata, reorderBatch, type ScheduledSequence } from '../../src/layers/mamba/mamba2-metadata.ts';
import { LayerContext } from '../../src/layers/parameters/layer-context.ts';
import { ParameterTable } from '../../src/layers/parameters/parameter.ts';
import { mixerCase, mixerOptions } from './mixer-case.ts';
import { MixerRig, seededTokens } from './mixer-rig.ts';
import { bits } from './seeded.ts';

const backend = new ReferenceBackend();

/** A rank for what needs no exchange: construction and shapes. */
function rankOf(size: number, rank = 0): ProcessGroup {
  return { ...singleProcess, size, rank };
}

function makeMixer(changes: Partial<MambaMixer2Options> = {}, group = singleProcess): MambaMixer2 {
  return new MambaMixer2(new LayerContext(backend, group, 'float32'), { ...mixerOptions(mixerCase()), ...changes });
}

describe('MambaMixer2 construction', () => {
  test.each<[string, Partial<MambaMixer2Options>]>([
    ['intermediateSize is not numHeads * headDim', { intermediateSize: 13 }],
    ['headDim does not fit', { headDim: 4 }],
    ['numHeads does not fit', { numHeads: 3 }],
    ['default heads and head dim do not fit', { numHeads: undefined, headDim: undefined }],
    ['groups do not divide heads', { nGroups: 3 }],
    ['more groups than heads', { nGroups: 8 }],
    ['no groups', { nGroups: 0 }],
    ['chunkSize 0', { chunkSize: 0 }],
    ['chunkSize -2', { chunkSize: -2 }],
    ['chunkSize 1.5', { chunkSize: 1.5 }],
    ['chunkSize NaN', { chunkSize: Number.NaN }],
  ])('%s: ArgumentError', (_, changes) => {
    expect(() => makeMixer(changes)).toThrow(ArgumentError);
  });

  test('defaults are those of the original: 128 heads of 64, one group, chunk size -1', () => {
    const mixer = new MambaMixer2(new LayerContext(backend, singleProcess, 'float32'), {
      hiddenSize: 8,
      ssmStateSize: 2,
      convKernelSize: 4,
      intermediateSize: 8192,
      useConvBias: true,
      useBias: false,
    });
    expect(mixer.getStateShape()).toEqual({ conv: [8192 + 4, 3], ssm: [128, 64, 2] });
    expect(mixer.chunkSize).toBe(-1);
    expect(mixer.prefix).toBe('');
    expect(new ParameterTable(mixer).names()).not.toContain('in_proj.bias');
  });

  test.each([3, 5, 8])('%i ranks for 4 heads: ShardingError', (size) => {
    expect(() => makeMixer({}, rankOf(size))).toThrow(ShardingError);
  });

  test('two layers with one prefix in one context: DuplicateLayerError; in two contexts: fine', () => {
    const context = new LayerContext(backend, singleProcess, 'float32');
    const options = mixerOptions(mixerCase(), 'layers.0.mixer');
    new MambaMixer2(context, options);
    expect(() => new MambaMixer2(context, options)).toThrow(DuplicateLayerError);
    expect(() => new MambaMixer2(context, options)).toThrow('layers.0.mixer');
    new MambaMixer2(context, { ...options, prefix: 'layers.1.mixer' });
    new MambaMixer2(new LayerContext(backend, singleProcess, 'float32'), options);
  });

  test('a mixer without weights says so', () => {
    const { hiddenSize } = mixerCase();
    expect(() => makeMixer().forward(backend.zeros([1, hiddenSize]))).toThrow(UnexpectedTensorError);
  });

  test('asks for exactly the checkpoint tensors that its switches imply', () => {
    const names = (changes: Partial<MambaMixer2Options>) => new ParameterTable(makeMixer(changes)).names().sort();
    const always = ['A_log', 'D', 'conv1d.weight', 'dt_bias', 'in_proj.weight', 'out_proj.weight'];
    const off = { useBias: false, useConvBias: false, useRmsNorm: false };
    expect(names(off)).toEqual(always.sort());
    expect(names({ ...off, useBias: true })).toEqual([...always, 'in_proj.bias', 'out_proj.bias'].sort());
    expect(names({ ...off, useConvBias: true })).toEqual([...always, 'conv1d.bias'].sort());
    expect(names({ ...off, useRmsNorm: true })).toEqual([...always, 'norm.weight'].sort());
  });

  test('checkpoint shapes are the same on every number of ranks', () => {
    const shapes = (size: number) => {
      const table = new ParameterTable(makeMixer({}, rankOf(size)));
      return table.names().map((name) => [name, table.shape(name)]);
    };
    expect(shapes(2)).toEqual(shapes(1));
    expect(shapes(4)).toEqual(shapes(1));
    expect(new ParameterTable(makeMixer()).shape('conv1d.weight')).toEqual([12 + 2 * 2 * 5, 1, 4]);
    expect(new ParameterTable(makeMixer()).shape('in_proj.weight')).toEqual([2 * 12 + 2 * 2 * 5 + 4, 6]);
  });
});

describe('getStateShape', () => {
  /** The original's formula, for what it allows: ranks that divide the groups, or one group. */
  function original(H: number, P: number, N: number, G: number, K: number, ranks: number) {
    const extra = G % ranks === 0 ? 0 : ranks - G;
    const convDim = H * P + 2 * (G + extra) * N;
    return { conv: [convDim / ranks, K - 1], ssm: [H / ranks, P, N] };
  }

  test('equals the formula of the original', () => {
    let compared = 0;
    for (const H of [1, 2, 4, 6, 8, 12]) {
      for (const ranks of [1, 2, 3, 4, 6, 8].filter((size) => H % size === 0)) {
        for (const G of [1, 2, 3, 4, 6, 8, 12].filter((groups) => H % groups === 0)) {
          if (G % ranks !== 0 && G !== 1) continue;
          const changes = {
            numHeads: H,
            headDim: 5,
            intermediateSize: 5 * H,
            nGroups: G,
            ssmStateSize: 7,
            convKernelSize: 3,
          };
          expect(makeMixer(changes, rankOf(ranks, ranks - 1)).getStateShape()).toEqual(original(H, 5, 7, G, 3, ranks));
          compared++;
        }
      }
    }
    expect(compared).toBeGreaterThan(30);
  });

  test('of published models', () => {
    const shape = (H: number, P: number, N: number, G: number, ranks: number) =>
      makeMixer(
        { numHeads: H, headDim: P, intermediateSize: H * P, nGroups: G, ssmStateSize: N },
        rankOf(ranks),
      ).getStateShape();
    expect(shape(24, 64, 128, 1, 1)).toEqual({ conv: [1792, 3], ssm: [24, 64, 128] });
    expect(shape(128, 64, 128, 8, 4)).toEqual({ conv: [2048 + 2 * 2 * 128, 3], ssm: [32, 64, 128] });
    expect(shape(128, 64, 128, 1, 8)).toEqual({ conv: [1024 + 2 * 128, 3], ssm: [16, 64, 128] });
  });

  test('is what one rank of a mixer can run on, also for one tap', () => {
    expect(makeMixer({ convKernelSize: 1 }).getStateShape().conv).toEqual([32, 0]);
  });
});

describe('MambaMixer2.forward', () => {
  const config = mixerCase();
  const sequences: readonly ScheduledSequence[] = [
    { slot: 0, numComputedTokens: 3, numTokens: 1 },
    { slot: 1, numComputedTokens: 0, numTokens: 3 },
  ];
  const metadata = buildMamba2Metadata(backend, sequences, { chunkSize: 4 });
  const hidden = (count: number) => backend.tensor(seededTokens(config, count, 1), [count, config.hiddenSize]);

  test.each([0, 1, 7])(
    'without metadata profiles %i rows: finite, of the right shape, and touching nothing',
    async (count) => {
      const rig = new MixerRig(config, 2, singleProcess, Number.NaN);
      const before = await rig.slot(0);
      for (const cache of [undefined, rig.cache]) {
        const out = rig.mixer.forward(hidden(count), cache);
        expect(out.shape).toEqual([count, config.hiddenSize]);
        expect((await backend.read(out)).every(Number.isFinite)).toBe(true);
      }
      const after = await rig.slot(0);
      expect(bits(after.conv)).toEqual(bits(before.conv));
      expect(bits(after.ssm)).toEqual(bits(before.ssm));
    },
  );

  test('leaves the hidden states as they were', async () => {
    const rig = new MixerRig(config, 2);
    const input = hidden(4);
    rig.mixer.forward(input, rig.cache, metadata);
    expect(await backend.read(input)).toEqual(seededTokens(config, 4, 1));
  });

  test('metadata without a cache: ArgumentError', () => {
    expect(() => new MixerRig(config, 2).mixer.forward(hidden(4), undefined, metadata)).toThrow(ArgumentError);
  });

  test.each([0, 3, 5])('metadata of 4 tokens for %i rows: MetadataError', (count) => {
    const rig = new MixerRig(config, 2);
    expect(() => rig.mixer.forward(hidden(count), rig.cache, metadata)).toThrow(MetadataError);
  });

  test('a slot that the cache lacks: MetadataError', () => {
    const rig = new MixerRig(config, 1);
    expect(() => rig.mixer.forward(hidden(4), rig.cache, metadata)).toThrow(MetadataError);
  });

  test('hidden states or a mup vector of the wrong width: ShapeError', () => {
    const rig = new MixerRig(config, 2);
    expect(() => rig.mixer.forward(backend.zeros([4, config.hiddenSize + 1]), rig.cache, metadata)).toThrow(ShapeError);
    expect(() => rig.mixer.forward(hidden(4), rig.cache, metadata, backend.zeros([3]))).toThrow(ShapeError);
  });
});

describe('buildMamba2Metadata', () => {
  const decode = { slot: 0, numComputedTokens: 3, numTokens: 1 };
  const prefill = { slot: 1, numComputedTokens: 0, numTokens: 3 };
  const newOneToken = { slot: 2, numComputedTokens: 0, numTokens: 1 };
  const resumed = { slot: 3, numComputedTokens: 4, numTokens: 2 };
  const build = (batch: readonly ScheduledSequence[], order?: 'decode-first' | 'prefill-first') =>
    buildMamba2Metadata(backend, batch, { chunkSize: 4, ...(order && { order }) });

  test.each([
    ['decode-first', [prefill, decode]],
    ['decode-first', [decode, newOneToken, { ...decode, slot: 4 }]],
    ['prefill-first', [decode, prefill]],
    ['prefill-first', [decode, newOneToken]],
  ] as const)('%s with rows in another order: MetadataError', (order, batch) => {
    expect(() => build(batch, order)).toThrow(MetadataError);
    build(reorderBatch(batch, order), order);
  });

  test('prior state decides what a decode is, never the number of tokens alone', async () => {
    const metadata = build([decode, newOneToken, prefill, resumed]);
    expect(metadata).toMatchObject({
      numDecodes: 1,
      numPrefills: 3,
      numPrefillTokens: 6,
      order: 'decode-first',
      chunkSize: 4,
    });
    expect(metadata.prefillStartLoc).toMatchObject({ data: Int32Array.of(0, 1, 4, 6), shape: [4] });
    expect(metadata.hasInitialStates).toMatchObject({ data: Int32Array.of(0, 0, 1) });
    expect(metadata.prefillSlots).toMatchObject({ data: Int32Array.of(2, 1, 3) });
    expect(metadata.decodeSlots).toMatchObject({ data: Int32Array.of(0) });
  });

  test.each<[string, readonly ScheduledSequence[]]>([
    ['a slot below -1', [{ ...decode, slot: -2 }]],
    ['a fractional slot', [{ ...decode, slot: 0.5 }]],
    ['a negative count', [{ ...prefill, numTokens: -1 }]],
    ['a fractional past', [{ ...decode, numComputedTokens: 0.5 }]],
    ['one slot twice', [decode, { ...prefill, slot: 0 }]],
  ])('%s: MetadataError', (_, batch) => {
    expect(() => build(batch)).toThrow(MetadataError);
  });

  test('takes any number of padding sequences', () => {
    const metadata = build([
      { ...decode, slot: -1 },
      { ...decode, slot: -1 },
      { ...prefill, slot: -1 },
    ]);
    expect(metadata).toMatchObject({ numDecodes: 2, numPrefills: 1 });
  });
});

import { describe, expect, test } from 'vitest';
import { Checkpoint } from '../../../src/checkpoint/checkpoint.ts';
import type { Batch, Executor } from '../../../src/engine/run/executor.ts';
import { evenRuns, planStages, stageOf } from '../../../src/engine/weights/plan-stages.ts';
import { ShardingError } from '../../../src/errors.ts';
import { ParameterTable } from '../../../src/layers/parameters/parameter.ts';
import { defineModel } from '../../../src/models/registry.ts';
import { goldenFolder, loadBoth, MODELS } from './pipeline-rig.ts';

const STORAGE = { weightDType: 'float32', quantConfig: undefined } as const;
const tokens = (count: number, seed: number) => Array.from({ length: count }, (_, i) => (i * 5 + seed * 11 + 3) % 60);

/** Prompts in parts beside decodes, states that are saved, loaded and copied, and decodes alone. */
const BATCHES: readonly Batch[] = [
  {
    sequences: [
      { slot: 0, numComputedTokens: 0, tokenIds: tokens(19, 0), blocks: [1, 2], watch: true },
      { slot: 2, numComputedTokens: 0, tokenIds: tokens(7, 1), blocks: [3, 4], logits: 'all' },
    ],
    logits: 'last',
  },
  {
    commands: [
      { type: 'save', slot: 0, snapshot: 9 },
      { type: 'copy', from: 2, to: 1 },
    ],
    sequences: [
      { slot: 0, numComputedTokens: 19, tokenIds: tokens(9, 2), blocks: [1, 2] },
      { slot: 2, numComputedTokens: 7, tokenIds: [5], blocks: [3, 4], watch: true },
    ],
    logits: 'last',
  },
  {
    sequences: [
      { slot: 2, numComputedTokens: 8, tokenIds: [6], blocks: [3, 4], watch: true },
      { slot: 0, numComputedTokens: 28, tokenIds: [7], blocks: [1, 2], watch: true },
    ],
    logits: 'last',
  },
  {
    commands: [{ type: 'load', snapshot: 9, slot: 3 }],
    sequences: [{ slot: 3, numComputedTokens: 19, tokenIds: [8], blocks: [1, 2] }],
    logits: 'last',
  },
];

/** What a model's users see of some steps, all of which are asked for at once. */
async function outcome(executor: Executor) {
  const { kvCache } = executor.stateFootprint;
  const copies = kvCache ? [{ type: 'copyBlock', from: 1, to: 5 } as const] : [];
  const last: Batch = { commands: copies, sequences: [], logits: 'last' };
  const steps = await Promise.all([...BATCHES, last].map((batch) => executor.execute(batch)));
  const place = { id: 9, length: 19, blocks: kvCache ? [1, 2] : [] };
  return { steps, state: await executor.exportState(place) };
}

describe.each(MODELS)('%s', (model) => {
  test.each([2, 3])('gives the bits of one rank in %i stages', async (stages) => {
    const { alone, pipeline } = await loadBoth(model, stages);
    const [expected, found] = [await outcome(alone), await outcome(pipeline)];
    expect(found).toEqual(expected);
    expect(pipeline.stateFootprint).toEqual(alone.stateFootprint);
    // A state of either continues in the other.
    const place = { id: 20, length: 19, blocks: alone.stateFootprint.kvCache ? [6, 7] : [] };
    await pipeline.importState(place, expected.state);
    expect(await pipeline.exportState(place)).toEqual(expected.state);
    await Promise.all([alone.dispose(), pipeline.dispose()]);
  });

  test('each weight is in the stages that use it, and in no other', async () => {
    const checkpoint = await Checkpoint.open(goldenFolder(model));
    const definition = defineModel(checkpoint.config, checkpoint.names());
    await checkpoint.close();
    const { numHiddenLayers, tieWordEmbeddings } = definition.config;
    const namesOf = (begin: number, end: number) =>
      new ParameterTable(stageOf(definition, STORAGE, { begin, end })).names();
    const whole = namesOf(0, numHiddenLayers);
    for (let cut = 1; cut < numHiddenLayers; cut++) {
      const [first, second] = [namesOf(0, cut), namesOf(cut, numHiddenLayers)];
      expect([...new Set([...first, ...second])].sort()).toEqual(whole.toSorted());
      const shared = first.filter((name) => second.includes(name));
      const isKnown = (name: string) =>
        (tieWordEmbeddings && name === definition.embeddings) || /shared_transformer/.test(name);
      expect(shared.filter((name) => !isKnown(name))).toEqual([]);
      expect(shared.filter((name) => /adapter_list/.test(name))).toEqual([]);
    }
  });
});

test('layers are divided so that the heaviest stage is as light as it can be', () => {
  expect(evenRuns([1, 1, 1, 1], 2)).toEqual([2, 2]);
  expect(evenRuns([9, 1, 1, 1], 2)).toEqual([1, 3]);
  expect(evenRuns([1, 1, 1, 9, 1], 3)).toEqual([3, 1, 1]);
  expect(evenRuns([5, 5, 5], 3)).toEqual([1, 1, 1]);
});

test('more stages than layers are refused', async () => {
  const checkpoint = await Checkpoint.open(goldenFolder('mamba2'));
  const definition = defineModel(checkpoint.config, checkpoint.names());
  await checkpoint.close();
  expect(() => planStages(definition, STORAGE, 40)).toThrow(ShardingError);
});

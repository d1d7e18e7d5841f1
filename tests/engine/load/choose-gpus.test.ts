import { expect, test } from 'vitest';
import { Checkpoint } from '../../../src/checkpoint/checkpoint.ts';
import { OTHER_BYTES, rankBytes } from '../../../src/engine/load/choose-gpus.ts';
import { draftBytes } from '../../../src/engine/load/load-draft-model.ts';
import { checkLoadOptions } from '../../../src/engine/load/load-options.ts';
import { defineModel } from '../../../src/models/registry.ts';
import { FLOAT32_STATES } from '../../../src/tensor/state-dtype.ts';
import { GOLDEN } from '../golden-folder.ts';

async function goldenBytes(slots: number, keptTokens: number): Promise<number> {
  const checkpoint = await Checkpoint.open(GOLDEN);
  const definition = defineModel(checkpoint.config, checkpoint.names());
  await checkpoint.close();
  const limits = { slots, keptTokens, kvCacheDtype: undefined };
  return (await rankBytes(definition, { weightDType: 'float32', quantConfig: undefined }, limits, FLOAT32_STATES))(1);
}

test('inputs of guesses that are kept count as memory of a GPU', async () => {
  const [without, one, five] = await Promise.all([0, 1, 5].map((keptTokens) => goldenBytes(3, keptTokens)));
  expect(one).toBeGreaterThan(without);
  expect(five - without).toBe(5 * (one - without));
});

test('a draft model counts with two states for each answer, and a context', async () => {
  const common = { maxNumSeqs: 3, dtype: 'float32' } as const;
  expect(await draftBytes(checkLoadOptions(common))).toBe(0);
  const speculativeConfig = { method: 'draft_model', model: GOLDEN, numSpeculativeTokens: 4 } as const;
  expect(await draftBytes(checkLoadOptions({ ...common, speculativeConfig }))).toBe(
    (await goldenBytes(6, 0)) + OTHER_BYTES,
  );
});

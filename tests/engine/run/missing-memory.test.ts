import { expect, test, vi } from 'vitest';
import { ReferenceBackend } from '../../../src/backends/reference/reference-backend.ts';
import { singleProcess } from '../../../src/distributed/process-group.ts';
import { ModelRunner } from '../../../src/engine/run/model-runner.ts';
import { OutOfDeviceMemoryError, OutOfMemoryError } from '../../../src/errors.ts';
import { LayerContext } from '../../../src/layers/parameters/layer-context.ts';
import { defineModel } from '../../../src/models/registry.ts';
import { loadSeeded } from '../../layers/mixer-rig.ts';

const CONFIG = {
  ...{ model_type: 'mamba2', vocab_size: 20, hidden_size: 8, num_hidden_layers: 2, expand: 2, conv_kernel: 4 },
  ...{ num_heads: 2, head_dim: 8, n_groups: 1, state_size: 8, chunk_size: 8, tie_word_embeddings: true },
};

test.each([
  { device: 'one that can be used on', outlivesMissingMemory: true, error: OutOfMemoryError },
  { device: 'one that can not', outlivesMissingMemory: undefined, error: OutOfDeviceMemoryError },
])('memory of a device is missing for a step: $device', async ({ outlivesMissingMemory, error }) => {
  const backend = Object.assign(new ReferenceBackend(), { outlivesMissingMemory });
  const model = defineModel(CONFIG).create(new LayerContext(backend, singleProcess, 'float32'));
  loadSeeded(model, 1);
  const runner = new ModelRunner(backend, model, { slots: 2, numBlocks: 0, chunkSize: 8 });
  const batch = { sequences: [{ slot: 0, numComputedTokens: 0, tokenIds: [1, 2, 3] }], logits: 'last' } as const;
  const { logits } = await runner.execute(batch);
  vi.spyOn(backend, 'gatherRows').mockImplementationOnce(() => {
    throw new OutOfDeviceMemoryError('The GPU has no memory left.');
  });
  await expect(runner.execute(batch)).rejects.toThrow(error);
  expect(await runner.execute({ ...batch, commands: [{ type: 'reset' }] })).toMatchObject({ logits });
});

test('of a snapshot for which memory is missing, nothing is left', async () => {
  const backend = new ReferenceBackend();
  const model = defineModel(CONFIG).create(new LayerContext(backend, singleProcess, 'float32'));
  loadSeeded(model, 1);
  const runner = new ModelRunner(backend, model, { slots: 2, numBlocks: 0, chunkSize: 8 });
  const dispose = vi.fn();
  const save = vi.spyOn(backend, 'saveSlot');
  save.mockReturnValueOnce({ byteLength: 4, read: async () => new Float32Array(1), dispose });
  save.mockImplementationOnce(() => {
    throw new RangeError('Array buffer allocation failed');
  });
  const commands = [{ type: 'save', slot: 0, snapshot: 0 }] as const;
  await expect(runner.execute({ commands, sequences: [], logits: 'last' })).rejects.toThrow(OutOfMemoryError);
  expect(dispose).toHaveBeenCalledOnce();
});

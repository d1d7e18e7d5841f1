import { describe, expect, test } from 'vitest';
import { GREEDY, LAST_SAMPLED } from '../../../src/backends/contract/sampling.ts';
import { singleProcess } from '../../../src/distributed/process-group.ts';
import { ModelRunner } from '../../../src/engine/run/model-runner.ts';
import { LayerContext } from '../../../src/layers/parameters/layer-context.ts';
import { defineModel } from '../../../src/models/registry.ts';
import { loadSeeded } from '../../layers/mixer-rig.ts';
import type { MakeBackend } from '../suite/harness.ts';

const CONFIG = {
  ...{ model_type: 'mamba2', vocab_size: 40, hidden_size: 16, num_hidden_layers: 2, expand: 2, conv_kernel: 4 },
  ...{ num_heads: 2, head_dim: 16, n_groups: 1, state_size: 64, chunk_size: 8, tie_word_embeddings: true },
};
const SLOTS = 3;

/** Tests a model whose states lack tokens, in steps that begin before the last one has answered. */
export function describeReplayedModel(makeBackend: MakeBackend): void {
  describe('a model whose states lack tokens', () => {
    test('has both kinds of decoding steps made ready: few sequences write their states', async () => {
      const backend = await makeBackend();
      const found = new Set<string>();
      const update = backend.selectiveStateUpdate.bind(backend);
      backend.selectiveStateUpdate = (args) => {
        found.add(`${args.x.shape[0]} rows ${args.replay ? 'replay' : 'write'}`);
        return update(args);
      };
      const model = defineModel(CONFIG).create(new LayerContext(backend, singleProcess, 'float32'));
      loadSeeded(model, 1);
      const runner = new ModelRunner(backend, model, { slots: 9, numBlocks: 0, chunkSize: 8 });
      await runner.prepare();
      expect(found).toEqual(new Set(['1 rows write', '9 rows replay']));
      await runner.dispose();
    });

    test('leaves out, as one whose states do not, what comes after the end of a sequence', async () => {
      expect(await run(makeBackend, 3)).toEqual(await run(makeBackend, 1));
    });
  });
}

async function run(makeBackend: MakeBackend, replaySteps: number): Promise<unknown> {
  const backend = await makeBackend();
  const model = defineModel(CONFIG).create(new LayerContext(backend, singleProcess, 'float32'));
  loadSeeded(model, 1);
  const states = { dtype: 'float32', rounding: 'nearest', replaySteps } as const;
  const runner = new ModelRunner(backend, model, { slots: SLOTS, numBlocks: 0, states, chunkSize: 8 });
  const found: unknown[] = [];
  for (let ending = 1; ending < 4; ending++) {
    const prompts = Array.from({ length: SLOTS }, (_, slot) => [1 + slot, 7, 3 + ending, 9]);
    const { logits } = await runner.execute({
      sequences: prompts.map((tokenIds, slot) => ({ slot, numComputedTokens: 0, tokenIds })),
      logits: 'last',
    });
    found.push(logits.slice());
    // All tokens end the sequence of slot 1 in one step: the next is begun before that is known, and computes nothing for it.
    const step = (n: number) => {
      const isEnd = n === ending;
      return runner.execute({
        sequences: prompts.map((_, slot) => ({
          slot,
          numComputedTokens: 4 + n,
          tokenIds: [n === 0 ? 5 : LAST_SAMPLED],
          sampling: [{ ...GREEDY, endTokenIds: slot === 1 && isEnd ? [likeliest[n]] : [] }],
        })),
        logits: 'last',
      });
    };
    const likeliest = await tokensOf(runner, ending, prompts);
    for (let n = 0; n <= ending + 1; n++) found.push([...((await step(n)).sampled ?? [])]);
    const length = 4 + ending + 1;
    await runner.execute({
      commands: [{ type: 'save', slot: 1, snapshot: ending, length }],
      sequences: [],
      logits: 'last',
    });
    found.push(await runner.exportState({ id: ending, length: 0, blocks: [] }));
  }
  await runner.dispose();
  return found;
}

/** The tokens that slot 1 gets, from a run of its own whose states are forgotten. */
async function tokensOf(
  runner: ModelRunner,
  count: number,
  prompts: readonly (readonly number[])[],
): Promise<number[]> {
  const tokens: number[] = [];
  for (let n = 0; n <= count; n++) {
    const { sampled = [] } = await runner.execute({
      sequences: [{ slot: 1, numComputedTokens: 4 + n, tokenIds: [n === 0 ? 5 : LAST_SAMPLED], sampling: [GREEDY] }],
      logits: 'last',
    });
    tokens.push(Number(sampled[0]));
  }
  await runner.execute({
    sequences: [{ slot: 1, numComputedTokens: 0, tokenIds: prompts[1] }],
    logits: 'last',
  });
  return tokens;
}

import { expect, test, vi } from 'vitest';
import { LLM, ShardingError } from '../../../src/index.ts';
import { need } from '../../needs/needs.ts';
import { LocalJob } from '../pipeline/local-job.ts';
import { goldenFolder } from '../pipeline/pipeline-rig.ts';

vi.setConfig({ testTimeout: 900_000 });

const PROMPT = Array.from({ length: 40 }, (_, i) => (7 * i) % 60);
const GREEDY = { maxTokens: 8, temperature: 0, ignoreEos: true } as const;

test.runIf(need('software-gpu'))('a model in two stages on a GPU answers as the processor does', async () => {
  const settings = { dtype: 'float32', maxNumSeqs: 2, maxNumBatchedTokens: 32, snapshotInterval: 16 } as const;
  const folder = goldenFolder('mamba2');
  await using one = await LLM.load(folder, { ...settings, device: 'cpu' });
  await using staged = await LLM.load(folder, { ...settings, device: 'webgpu', pipelineParallelSize: 2 });
  const [expected, found] = [await one.logits(PROMPT), await staged.logits(PROMPT)];
  expect(found.every((value, i) => Math.abs(value - expected[i]) < 5e-3)).toBe(true);
  const prompts = [PROMPT, PROMPT.toReversed()];
  const answers = (llm: LLM) =>
    Promise.all(prompts.map(async (prompt) => (await llm.complete(prompt, GREEDY)).tokenIds));
  expect(await answers(staged)).toEqual(await answers(one));
  const session = staged.createSession();
  await session.append(PROMPT);
  const loaded = await staged.loadSession(await session.save());
  const tokenIds: number[] = [];
  for await (const { tokenId } of loaded.generate(undefined, GREEDY)) tokenIds.push(tokenId);
  expect(tokenIds).toEqual((await one.complete(PROMPT, GREEDY)).tokenIds);
});

test.runIf(need('software-gpu'))('the processes of a job have a stage on a GPU each', async () => {
  const job = new LocalJob(2);
  try {
    const settings = { dtype: 'float32', maxNumSeqs: 1, maxNumBatchedTokens: 32 } as const;
    const folder = goldenFolder('mamba2');
    await using one = await LLM.load(folder, { ...settings, device: 'cpu' });
    const staged = await LLM.load(folder, { ...settings, device: 'webgpu', pipelineParallelSize: 2, job });
    expect(staged.device.device).toBe('webgpu');
    const { tokenIds } = await staged.complete(PROMPT, GREEDY);
    expect(tokenIds).toEqual((await one.complete(PROMPT, GREEDY)).tokenIds);
    await staged.dispose();
    await expect(LLM.load(folder, { device: 'webgpu', job })).rejects.toThrow(ShardingError);
  } finally {
    await job.close();
  }
});

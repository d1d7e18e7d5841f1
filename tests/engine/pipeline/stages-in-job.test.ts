import { afterEach, describe, expect, test } from 'vitest';
import { LLM, ModelMismatchError, RankFailedError, ShardingError } from '../../../src/index.ts';
import { GOLDEN } from '../golden-folder.ts';
import { LocalJob } from './local-job.ts';
import { goldenFolder } from './pipeline-rig.ts';

const PROMPT = Array.from({ length: 20 }, (_, i) => 3 * i);

describe('stages in the processes of a job', () => {
  const jobs: LocalJob[] = [];
  const newJob = (...args: ConstructorParameters<typeof LocalJob>) => {
    const job = new LocalJob(...args);
    jobs.push(job);
    return job;
  };
  afterEach(async () => {
    for (const job of jobs.splice(0)) await job.close();
  });

  test.each([2, 3])('%i give the bits of one rank, and only activations cross between them', async (size) => {
    const job = newJob(size);
    const one = await LLM.load(GOLDEN, { device: 'cpu' });
    const staged = await LLM.load(GOLDEN, { device: 'cpu', pipelineParallelSize: size, job, maxNumBatchedTokens: 16 });
    const logits = await staged.logits(PROMPT);
    expect(logits).toEqual(await one.logits(PROMPT));
    const bytes = 4 * PROMPT.length * one.config.hiddenSize;
    expect(job.sent).toEqual([0, ...new Array(size - 1).fill(bytes)]);
    const options = { maxTokens: 12, temperature: 0, n: 3, ignoreEos: true } as const;
    expect((await staged.complete(PROMPT, options)).choices).toEqual((await one.complete(PROMPT, options)).choices);
    await Promise.all([one.dispose(), staged.dispose()]);
  });

  test('sessions and their files go over all stages', async () => {
    const one = await LLM.load(goldenFolder('zamba2'), { device: 'cpu' });
    const staged = await LLM.load(goldenFolder('zamba2'), { device: 'cpu', pipelineParallelSize: 2, job: newJob(2) });
    const files = await Promise.all(
      [one, staged].map(async (llm) => {
        const session = llm.createSession();
        await session.append(PROMPT);
        return session.save();
      }),
    );
    expect(files[1]).toEqual(files[0]);
    const session = await staged.loadSession(files[0]);
    await session.append([1, 2]);
    await Promise.all([one.dispose(), staged.dispose()]);
  });

  test('a stage that fails ends what runs with its host in the message; then all stages are loaded again', async () => {
    const job = newJob(2);
    const llm = await LLM.load(GOLDEN, { device: 'cpu', pipelineParallelSize: 2, job, recover: true });
    const before = await llm.complete(PROMPT, { maxTokens: 4, temperature: 0 });
    const running = llm.generate(PROMPT, { maxTokens: 100_000, ignoreEos: true });
    await running.next();
    // As if its rank had reported it.
    job.followers[0].onReport?.({ type: 'end', rank: 0, end: { problem: 'exited with code 1', hint: undefined } });
    const rest = async () => {
      for await (const _ of running);
    };
    await expect(rest()).rejects.toThrow(/on host 'host 1' exited with code 1/);
    expect(await llm.complete(PROMPT, { maxTokens: 4, temperature: 0 })).toEqual(before);
    await llm.dispose();
  });

  test('a model that another process does not have is refused, and nothing is left loaded', async () => {
    const job = newJob(2, async () => {
      throw new ModelMismatchError('Another model.');
    });
    await expect(LLM.load(GOLDEN, { device: 'cpu', pipelineParallelSize: 2, job })).rejects.toThrow(
      "Host 'host 1': Another model.",
    );
  });

  test('as many processes as stages are needed', async () => {
    await expect(LLM.load(GOLDEN, { pipelineParallelSize: 3, job: newJob(2) })).rejects.toThrow(ShardingError);
  });

  test('a process that is gone fails the model', async () => {
    const job = newJob(2);
    const llm = await LLM.load(GOLDEN, { device: 'cpu', pipelineParallelSize: 2, job });
    job.followers[0].onEnd?.(new RankFailedError("Host 'host 1' can't be reached."));
    await expect(llm.complete(PROMPT, { maxTokens: 4 })).rejects.toThrow(RankFailedError);
    await llm.dispose();
  });
});

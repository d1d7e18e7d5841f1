import { Worker } from 'node:worker_threads';
import { expect, onTestFinished, test } from 'vitest';
import { JobThread, type JobThreadOptions } from '../../src/distributed/job-thread.ts';
import { ArgumentError } from '../../src/errors.ts';

/** Does what it is told: gives it back, fails, fills its memory, or ends. */
const SCRIPT = `
const { parentPort, threadId } = require('node:worker_threads');
parentPort.on('message', (job) => {
  if (job === 'fail') parentPort.postMessage({ type: 'error', error: { name: 'ArgumentError', message: 'no' } });
  else if (job === 'fill') for (const all = [];;) all.push(new Array(1000).fill({}));
  else if (job === 'leave') process.exit(3);
  else if (job !== 'hang') parentPort.postMessage({ type: 'result', result: [job, threadId] });
});
parentPort.postMessage({ type: 'ready' });
`;

function start(options: Partial<JobThreadOptions> = {}, script = SCRIPT) {
  const thread = new JobThread<string, [string, number]>({
    name: 'A thread',
    startWorker: () => new Worker(script, { eval: true, resourceLimits: { maxOldGenerationSizeMb: 16 } }),
    maxWaitingWeight: 10,
    ...options,
  });
  onTestFinished(() => thread.dispose());
  return thread;
}

test('one thread does all jobs in order; errors are of their class', async () => {
  const thread = start();
  const [first, failed, second] = await Promise.allSettled(['a', 'fail', 'b'].map((job) => thread.run(job)));
  expect(failed.status === 'rejected' && failed.reason).toBeInstanceOf(ArgumentError);
  const [[a, id], [b, sameId]] = [first, second].map((job) => (job.status === 'fulfilled' ? job.value : ['', -1]));
  expect([a, b]).toEqual(['a', 'b']);
  expect(sameId).toBe(id);
});

test.each([
  ['fill', 'memory', {}],
  ['leave', 'failure', {}],
  ['hang', 'time', { milliseconds: 20 }],
] as const)('a job that ends its thread fails alone: %s', async (job, why, options) => {
  const thread = start();
  const before = thread.run('a');
  const ended = thread.run(job, options);
  const after = thread.run('b');
  const [, id] = await before;
  await expect(ended).rejects.toMatchObject({ why });
  const [b, otherId] = await after;
  expect(b).toBe('b');
  expect(otherId).not.toBe(id);
});

test('a thread that can not be started says so', async () => {
  await expect(start({}, 'throw new Error("nothing here")').run('a')).rejects.toMatchObject({
    why: 'start',
    message: expect.stringContaining('nothing here'),
  });
});

test('an idle thread ends, and the next job starts another', async () => {
  const thread = start({ idleMilliseconds: 0 });
  const [, id] = await thread.run('a');
  await new Promise((resolve) => setTimeout(resolve, 50));
  const [, otherId] = await thread.run('b');
  expect(otherId).not.toBe(id);
});

test('what can not be copied fails alone', async () => {
  const thread = start();
  const job: unknown = () => {};
  await expect(thread.run(job as string)).rejects.toThrow(/could not be cloned/);
  expect((await thread.run('a'))[0]).toBe('a');
});

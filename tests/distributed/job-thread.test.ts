import { Worker } from 'node:worker_threads';
import { expect, onTestFinished, test } from 'vitest';
import { JobThread, type JobThreadOptions } from '../../src/distributed/job-thread.ts';
import { ArgumentError } from '../../src/errors.ts';

/** Does what it is told: gives it back, fails, fills its memory, says that its heap grew, or ends. */
const SCRIPT = `
const { parentPort, threadId } = require('node:worker_threads');
const heap = 2 ** 24;
parentPort.on('message', (job) => {
  if (job === 'fail') parentPort.postMessage({ type: 'error', error: { name: 'ArgumentError', message: 'no' }, heap });
  else if (job === 'fill') for (const all = [];;) all.push(new Array(1000).fill({}));
  else if (job === 'leave') process.exit(3);
  else if (job !== 'hang') {
    parentPort.postMessage({ type: 'result', result: [job, threadId], heap: job === 'grow' ? 2 ** 27 : heap });
  }
});
parentPort.postMessage({ type: 'ready', heap });
`;

function start(options: Partial<JobThreadOptions<string, [string, number]>> = {}, script = SCRIPT) {
  const thread = new JobThread<string, [string, number]>({
    name: 'A thread',
    startWorker: () => new Worker(script, { eval: true, resourceLimits: { maxOldGenerationSizeMb: 16 } }),
    runHere: (job) => [job, 0],
    runHereHint: 'Jobs are done here.',
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

test('jobs of a thread that can not be started are done here, with a warning', async () => {
  const warnings: string[] = [];
  const warn = ({ message }: Error) => void warnings.push(message);
  process.on('warning', warn);
  onTestFinished(() => void process.off('warning', warn));
  const thread = start({}, 'throw new Error("nothing here")');
  expect(await Promise.all([thread.run('a'), thread.run('b')])).toEqual([
    ['a', 0],
    ['b', 0],
  ]);
  thread.warmUp();
  expect(await thread.run('c')).toEqual(['c', 0]);
  await new Promise(setImmediate);
  expect(warnings).toEqual([expect.stringMatching(/A thread .*nothing here.*Jobs are done here/)]);
});

test('a thread whose heap has grown ends once there is nothing to do', async () => {
  const thread = start();
  const [[, first], [, second]] = await Promise.all([thread.run('grow'), thread.run('a')]);
  expect(second).toBe(first);
  const [, third] = await thread.run('grow');
  expect(third).toBe(first);
  expect((await thread.run('a'))[1]).not.toBe(first);
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

import { parentPort, workerData } from 'node:worker_threads';
import type { ProcessGroup } from '../../src/distributed/process-group.ts';
import { serializeError } from '../../src/distributed/serialized-error.ts';
import { failGroup, SharedMemoryGroup } from '../../src/distributed/shared-memory-group.ts';
import type { RankReply, RankTask } from './run-ranks.ts';

/** A thread of a RankPool: imports the pool's module and runs its functions as one rank. */
const functions = (await import(workerData as string)) as Record<
  string,
  (group: ProcessGroup, input: unknown) => unknown
>;

parentPort?.on('message', async ({ name, memory, rank, input }: RankTask) => {
  const reply = (message: RankReply) => parentPort?.postMessage(message);
  try {
    reply({ result: await functions[name](new SharedMemoryGroup(memory, rank), input) });
  } catch (error) {
    // Failing first: the others' replies must not wait for this one to be read.
    failGroup(memory);
    reply({ error: serializeError(error) });
  }
});

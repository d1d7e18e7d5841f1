// In each process of a job: ranks on threads, which form one group with those of all processes and try its collectives.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { MpiPlaces } from '../../src/distributed/mpi/mpi-group.ts';
import { MpiWorld } from '../../src/distributed/mpi/mpi-world.ts';
import {
  createGroupMemory,
  failGroup,
  type GroupMemory,
  resetGroup,
} from '../../src/distributed/shared-memory-group.ts';
import { ValueLink } from '../../src/distributed/value-link.ts';

/** What a rank's thread begins with. */
export interface GroupTask {
  readonly memory: GroupMemory;
  readonly rank: number;
  readonly places: MpiPlaces;
}

const count = Number(process.argv[2]);
const world = await MpiWorld.open();
const processes = Array.from({ length: world.size }, (_, process) => ({ process, first: process * count, count }));
const memory = createGroupMemory(world.size * count, processes[world.rank]);
const places = { library: world.library.path, processes };
const workers = Array.from({ length: count }, (_, i) => {
  const task: GroupTask = { memory, rank: world.rank * count + i, places };
  return new Worker(new URL('./group-rank.ts', import.meta.url), { workerData: task });
});
const others = processes.flatMap(({ process }) => (process === world.rank ? [] : [world.link(process, 0)]));

/** Returns when all processes have come here. */
async function meet(): Promise<void> {
  await Promise.all(others.flatMap((link) => [link.send(new Uint8Array(1)), link.receive(new Uint8Array(1))]));
}

/** Each rank's next message. */
async function replies(): Promise<string[]> {
  return Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0] as string));
}

const first = await replies();
// All but rank 0, which gives up, wait in an exchange by now or come to it later.
const second = replies();
for (const worker of workers) worker.postMessage('fail');
await meet();
failGroup(memory);
const third = await second;
await meet();
resetGroup(memory);
const fourth = replies();
for (const worker of workers) worker.postMessage('again');
const all = [...first, ...third, ...(await fourth)];
await Promise.all(workers.map((worker) => worker.terminate()));
// Launchers mix what processes write.
const toFirst = new ValueLink<string[], string[]>(world.link(0, 1));
const collected = [all];
if (world.rank > 0) await toFirst.send(all);
else {
  for (const { process } of processes.slice(1)) {
    collected.push(await new ValueLink<never, string[]>(world.link(process, 1)).receive());
  }
  process.stdout.write(JSON.stringify(collected));
}
await world.close();

// How long an exchange of ranks takes. In each process of a job, with one rank:
//   mpirun --host a,b --bind-to none node scripts/hosts/exchange.ts
// Process 0 prints the median of each size, and the least. Without mpirun, two threads of this process exchange.
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { findLauncher } from '../../src/distributed/mpi/launcher.ts';
import { MpiGroup } from '../../src/distributed/mpi/mpi-group.ts';
import { MpiWorld } from '../../src/distributed/mpi/mpi-world.ts';
import type { ProcessGroup } from '../../src/distributed/process-group.ts';
import { createGroupMemory, type GroupMemory, SharedMemoryGroup } from '../../src/distributed/shared-memory-group.ts';

/** Bytes of a rank: a few numbers, and rows of models from mamba2-130m to Codestral. */
const SIZES = [4, 3072, 12_288, 16_384, 262_144, 1_048_576];
const MILLISECONDS = 500;

function measure(group: ProcessGroup): void {
  for (const bytes of SIZES) {
    const data = new Float32Array(bytes / 4);
    const times: number[] = [];
    const run = () => {
      const begin = performance.now();
      group.allReduce([data]);
      return performance.now() - begin;
    };
    // All ranks do as many as rank 0 thinks right.
    for (let i = 0; i < 20; i++) run();
    const count = Float32Array.of(Math.min(5000, Math.max(20, MILLISECONDS / run())));
    group.broadcast(count, 0);
    for (let i = 0; i < count[0]; i++) times.push(run());
    times.sort((a, b) => a - b);
    if (group.rank !== 0) continue;
    const [median, least] = [times[times.length >> 1], times[0]].map((time) => (1000 * time).toFixed(1));
    console.log(`${String(bytes).padStart(8)} B  ${median.padStart(9)} us  ${least.padStart(9)} us`);
  }
}

if (!isMainThread) {
  measure(new SharedMemoryGroup(workerData as GroupMemory, 1));
} else if (findLauncher(process.env) === undefined) {
  const memory = createGroupMemory(2);
  new Worker(new URL(import.meta.url), { workerData: memory });
  measure(new SharedMemoryGroup(memory, 0));
} else {
  const world = await MpiWorld.open();
  const processes = Array.from({ length: world.size }, (_, process) => ({ process, first: process, count: 1 }));
  const memory = createGroupMemory(world.size, processes[world.rank]);
  measure(await MpiGroup.open(memory, world.rank, { library: world.library.path, processes }));
  await world.close();
}

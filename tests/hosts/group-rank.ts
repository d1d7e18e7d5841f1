import { once } from 'node:events';
import { parentPort, workerData } from 'node:worker_threads';
import { MpiGroup } from '../../src/distributed/mpi/mpi-group.ts';
import { RankFailedError } from '../../src/errors.ts';
import { gathered, manyCollectives } from '../distributed/collectives-on-ranks.ts';
import { concatenated, firstDifference, SeededRandom } from '../layers/seeded.ts';
import type { GroupTask } from './group-job.ts';

/** Floats that pass in one exchange. */
const WINDOW = 2 ** 18;
const SHORT = [0, 1, 7, 1000];
const LONG = [WINDOW - 1, WINDOW, WINDOW + 1];
const ROUNDS = 300;

const { memory, rank, places } = workerData as GroupTask;
const group = await MpiGroup.open(memory, rank, places);
const { size } = group;

/** Values whose sum depends on the order, so that another order than that of the ranks shows. */
function rankData(length: number): Float32Array[] {
  const random = new SeededRandom(size * 1000 + length);
  return Array.from({ length: size }, () => random.floats(length).map((value, i) => value * 10 ** ((i % 13) - 6)));
}

/** → 'right', or what was wrong. */
function tryAll(lengths: readonly number[]): string {
  for (const length of lengths) {
    const data = rankData(length);
    const sum = data[rank].slice();
    group.allReduce([sum]);
    const expected = data[0].map((_, i) => data.reduce((total, own) => total + own[i], 0));
    if (firstDifference(sum, expected) !== -1) return `rank ${rank}: the sum of ${length}`;
    if (firstDifference(gathered(group, data[rank]), concatenated(data)) !== -1) return `rank ${rank}: all ${length}`;
    for (let source = 0; source < size; source++) {
      const own = data[rank].slice();
      group.broadcast(own, source);
      if (firstDifference(own, data[source]) !== -1) return `rank ${rank}: ${length} of rank ${source}`;
    }
  }
  return manyCollectives(group, { rounds: ROUNDS }).every(Number.isFinite) ? 'right' : `rank ${rank}: many`;
}

parentPort?.postMessage(tryAll([...SHORT, ...LONG]));
if (parentPort) await once(parentPort, 'message');
try {
  if (rank !== 0) group.allReduce([new Float32Array(8)]);
  parentPort?.postMessage(rank === 0 ? 'gave up' : 'not released');
} catch (error) {
  parentPort?.postMessage(error instanceof RankFailedError ? 'released' : String(error));
}
if (parentPort) await once(parentPort, 'message');
group.reset();
parentPort?.postMessage(tryAll(SHORT));

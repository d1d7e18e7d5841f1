import { parentPort, workerData } from 'node:worker_threads';
import { Checkpoint } from '../checkpoint/checkpoint.ts';
import type { ProgressEvent } from '../checkpoint/progress.ts';
import { failGroup, SharedMemoryGroup } from '../distributed/shared-memory-group.ts';
import { loadRank } from './load-rank.ts';
import type { ModelRunner } from './model-runner.ts';
import { answer, buffersOf } from './rank-answer.ts';
import { type RankMessage, type RankRequest, type RankWorkerData, serializeError } from './rank-protocol.ts';
import { loadSyntheticRank } from './synthetic-model.ts';

/** One rank in a thread of its own: loads its shard, then runs every step that it is sent. */
const { source, memory, rank, options } = workerData as RankWorkerData;

function post(message: RankMessage, transfer: ArrayBuffer[] = []): void {
  parentPort?.postMessage(message, transfer);
}

/** A rank that can't go on must not leave the others waiting for it. Its own error goes first: theirs follow from it. */
function fail(error: unknown): void {
  post({ type: 'error', error: serializeError(error) });
  failGroup(memory);
}

async function load(): Promise<ModelRunner> {
  const group = new SharedMemoryGroup(memory, rank);
  const onProgress = rank === 0 ? (event: ProgressEvent) => post({ type: 'progress', event }) : undefined;
  if (typeof source !== 'string') return loadSyntheticRank(source, group, options, { onProgress });
  const checkpoint = await Checkpoint.open(source);
  try {
    return await loadRank(checkpoint, group, options, { onProgress });
  } finally {
    await checkpoint.close();
  }
}

try {
  const runner = await load();
  parentPort?.on('message', async (request: RankRequest) => {
    try {
      const result = await answer(runner, request, rank);
      post({ type: 'result', result }, buffersOf(result));
    } catch (error) {
      fail(error);
    }
  });
  post({ type: 'ready', stateFootprint: runner.stateFootprint });
} catch (error) {
  fail(error);
}

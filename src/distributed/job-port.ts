import type { TransferListItem } from 'node:worker_threads';
import type { JobMessage } from './job-thread.ts';
import { serializeError } from './serialized-error.ts';

/** Result of a job, and the parts of it that are moved rather than copied. */
export interface JobAnswer<Result> {
  readonly result: Result;
  readonly transfer?: readonly TransferListItem[] | undefined;
}

type WithoutHeap<Message> = Message extends unknown ? Omit<Message, 'heap'> : never;

/** Inside a worker thread: does the jobs that a `JobThread` sends, once `ready` is there. */
export function answerJobs<Job, Result>(ready: Promise<(job: Job) => JobAnswer<Result>>): void {
  const parentPort = process.getBuiltinModule('node:worker_threads').parentPort;
  const v8 = process.getBuiltinModule('node:v8');
  const post = (message: WithoutHeap<JobMessage<Result>>, transfer: readonly TransferListItem[] = []) =>
    parentPort?.postMessage({ ...message, heap: v8.getHeapStatistics().total_heap_size }, [...transfer]);
  ready.then(
    (answer) => {
      parentPort?.on('message', (job: Job) => {
        try {
          const { result, transfer } = answer(job);
          post({ type: 'result', result }, transfer);
        } catch (error) {
          post({ type: 'error', error: serializeError(error) });
        }
      });
      post({ type: 'ready' });
    },
    (error: unknown) => post({ type: 'error', error: serializeError(error) }),
  );
}

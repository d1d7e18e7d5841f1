import { answerJobs, type JobAnswer } from '../../distributed/job-port.ts';
import { type BodyJob, type BodyResult, runBodyJob } from './body-job.ts';

/** Parses large bodies on a thread of its own, for a `BodyReader`. Node only. */
function answer(job: BodyJob): JobAnswer<BodyResult> {
  const result = runBodyJob(job);
  return { result, transfer: 'body' in result ? buffersOf(result.body) : [] };
}

/** Memory of packed token ids. */
function buffersOf(body: object): ArrayBuffer[] {
  const lists = Object.values(body).flatMap((value) => (Array.isArray(value) ? value : [value]));
  return lists.flatMap((list) => (list instanceof Float64Array ? [list.buffer as ArrayBuffer] : []));
}

answerJobs(Promise.resolve(answer));

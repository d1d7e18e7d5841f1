import { workerData } from 'node:worker_threads';
import { answerJobs, type JobAnswer } from '../distributed/job-port.ts';
import { type TextJob, type TextResult, TextWork } from './text-job.ts';
import { type TextSource, textFrom } from './text-source.ts';

/** The script of a thread that does text jobs for `TextThreads`. Node only. */
async function open(source: TextSource): Promise<(job: TextJob) => JobAnswer<TextResult>> {
  const work = new TextWork(await textFrom(source));
  return (job) => {
    const result = work.run(job);
    return { result, transfer: buffersOf(result) };
  };
}

function buffersOf(result: TextResult): ArrayBuffer[] {
  if ('buffer' in result) return [result.buffer];
  return [result.ids.buffer, ...(result.tokenTexts ? [result.tokenTexts.buffer] : [])];
}

answerJobs(open(workerData));

// Loads models on all processes of a job, and writes what they answer: what `modelAnswers` does in one process.
import { MpiProcess } from '../../src/engine/load/mpi-job.ts';
import { modelAnswers } from './model-answers.ts';

const [options, script, ...folders] = process.argv.slice(2);
const job = await MpiProcess.open();
if (job.rank > 0) {
  // All hosts share a disk.
  const prepare: Parameters<MpiProcess['followWith']>[0]['prepare'] = async (start) => start;
  await job.followWith({ prepare, script: script === '' ? undefined : new URL(script) });
} else {
  const answers = [];
  for (const folder of folders) {
    const answer = modelAnswers(folder, { job, ...JSON.parse(options) });
    answers.push(await answer.catch((error: Error) => error.message));
  }
  await job.close();
  process.stdout.write(JSON.stringify(answers));
}

import { LLM } from '../../../src/engine/llm.ts';
import { openMpiJob, openTcpJob } from '../../../src/engine/load/mpi-job.ts';

// A process of a job of two, which share a model on emulated GPUs. Arguments: the model's folder; where mpirun has not
// started it, the address and its number.
const [, , folder, address, rank] = process.argv;
const job = await (address === undefined ? openMpiJob() : openTcpJob({ address, rank: Number(rank), size: 2 }));
if (job.rank > 0) {
  await job.follow(folder);
} else {
  const llm = await LLM.load(folder, { job, device: 'cuda', dtype: 'float32', tensorParallelSize: 2 });
  const { tokenIds } = await llm.complete([1, 2, 3], { temperature: 0, maxTokens: 6, ignoreEos: true });
  process.stdout.write(JSON.stringify([...tokenIds]));
  await llm.dispose();
  await job.close();
}

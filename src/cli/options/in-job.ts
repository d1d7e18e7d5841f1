import { findLauncher } from '../../distributed/mpi/launcher.ts';
import { tcpPlaceOf } from '../../distributed/tcp/tcp-place.ts';
import type { MpiProcess } from '../../engine/load/mpi-job.ts';
import { type ModelValues, modelName } from './model-options.ts';

/** What a command does where it is one of several processes: `mpirun` or `srun` has started it, or MAMBA2_JOB says so. */
interface JobPart<V> {
  /** The command itself, in process 0 or in the only one. → exit code */
  readonly lead: (values: V & Pick<ModelValues, 'job'>) => Promise<number>;
  /** What the other processes do. Default: they serve process 0 with their threads and their files of the model. */
  readonly follow?: ((job: MpiProcess) => Promise<void>) | undefined;
}

/** Runs a command alone, or in its part of a job. → exit code */
export async function inJob<V extends Pick<ModelValues, 'model' | 'revision' | 'job'>>(
  values: V,
  { lead, follow = (job) => job.follow(modelName(values), { revision: values.revision }) }: JobPart<V>,
): Promise<number> {
  const place = tcpPlaceOf(process.env);
  if (!place && !findLauncher(process.env)) return lead(values);
  // Loaded on need: few programs run on several machines.
  const { MpiProcess } = await import('../../engine/load/mpi-job.ts');
  const job = await (place ? MpiProcess.openTcp(place) : MpiProcess.open());
  if (job.rank > 0) {
    await follow(job);
    return 0;
  }
  try {
    return await lead({ ...values, job });
  } finally {
    await job.close();
  }
}

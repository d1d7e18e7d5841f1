import type { AbiName } from './mpi-abi.ts';

/** The program that started this process along with others, as far as the environment tells. */
export interface Launcher {
  /** Its name, for messages. */
  readonly name: string;
  /** Processes that it has started. */
  readonly size: number;
  /** Interface of the library that it belongs to, where it is of one. */
  readonly abi: AbiName | undefined;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Variables that hold the number of processes. `SLURM_NTASKS` is not among them: a batch script has it, too. */
const LAUNCHERS = [
  { variable: 'OMPI_COMM_WORLD_SIZE', name: "Open MPI's mpirun", abi: 'openmpi' },
  { variable: 'PMI_SIZE', name: "MPICH's mpirun", abi: 'mpich' },
  { variable: 'SLURM_STEP_NUM_TASKS', name: "Slurm's srun", abi: undefined },
] as const;

/** The launcher of this process; undefined where it was started alone. */
export function findLauncher(environment: Environment): Launcher | undefined {
  // srun sets the variables of PMI, too, for libraries of either kind.
  const known = environment.SLURM_STEP_NUM_TASKS === undefined ? LAUNCHERS : LAUNCHERS.toReversed();
  for (const { variable, name, abi } of known) {
    const size = Number(environment[variable]);
    if (size > 1) return { name, size, abi };
  }
  return undefined;
}

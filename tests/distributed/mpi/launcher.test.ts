import { expect, test } from 'vitest';
import { findLauncher } from '../../../src/distributed/mpi/launcher.ts';
import { abiOf } from '../../../src/distributed/mpi/mpi-abi.ts';

test.each([
  [{ OMPI_COMM_WORLD_SIZE: '2' }, { name: "Open MPI's mpirun", size: 2, abi: 'openmpi' }],
  [
    { PMI_SIZE: '3', PMI_RANK: '0' },
    { name: "MPICH's mpirun", size: 3, abi: 'mpich' },
  ],
  // srun speaks PMI, too; which library it starts is not told by that.
  [
    { SLURM_STEP_NUM_TASKS: '4', PMI_SIZE: '4' },
    { name: "Slurm's srun", size: 4, abi: undefined },
  ],
  [{ SLURM_NTASKS: '4' }, undefined],
  [{ OMPI_COMM_WORLD_SIZE: '1' }, undefined],
  [{}, undefined],
])('%o: the launcher is %o', (environment, launcher) => {
  expect(findLauncher(environment)).toEqual(launcher);
});

test.each([
  ['libmpi.so.40', 'Open MPI v4.1.4, package: Debian OpenMPI', 'openmpi'],
  ['libmpich.so.12', 'MPICH Version:\t4.0.2', 'mpich'],
  ['libmpi.so.12', 'Intel(R) MPI Library 2021.12 for Linux* OS', 'mpich'],
  ['libmpi.so.12', 'MPI VERSION    : CRAY MPICH version 8.1.28', 'mpich'],
  ['/opt/mpi/lib/libmpi_abi.so.0', 'MPICH Version: 5.0.0', 'standard'],
  ['libmpi.so', 'LAM/MPI 7.1.4', undefined],
])('%s, %s: its interface is %s', (path, version, abi) => {
  expect(abiOf(path, version)).toBe(abi);
});

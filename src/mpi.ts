/// <reference path="../types/globals.d.ts" preserve="true" />
/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Models on several machines, as processes of an MPI job. Node only; needs the package koffi.
 *
 * @module mamba2/mpi
 */

export { type MpiJob, type MpiJobOptions, openMpiJob } from './engine/load/mpi-job.ts';

/// <reference path="../types/globals.d.ts" preserve="true" />
/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Models on several machines, as processes of an MPI job, or of one that finds itself by an address. Node only; MPI and GPUs
 * need the package koffi.
 *
 * @module mamba2/mpi
 */

export type { TcpPlace } from './distributed/tcp/tcp-place.ts';
export { type MpiJob, type MpiJobOptions, openMpiJob, openTcpJob } from './engine/load/mpi-job.ts';

import type { Link } from './link.ts';

/** Processes that were started to work together, seen from one of them. */
export interface World {
  /** This process among them, from 0 on. */
  readonly rank: number;
  readonly size: number;
  /** Name of the machine that this process runs on. */
  readonly host: string;
  /** Path of the MPI library by which threads of the processes may exchange; undefined where there is none. */
  readonly mpiLibrary: string | undefined;
  /** A way to another process. Messages of other channels do not come in its way. @param channel from 0 on */
  link(peer: number, channel: number): Link;
  /**
   * Leaves the others: each process does so once, when it has no more to send or to receive. Resolves when all do. The
   * process is to end then.
   */
  close(): Promise<void>;
}

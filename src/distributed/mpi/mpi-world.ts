import { setTimeout as delay } from 'node:timers/promises';
import { MpiError } from '../../errors.ts';
import type { Link } from '../link.ts';
import type { World } from '../world.ts';
import { findLauncher, type Launcher } from './launcher.ts';
import { sayFarewell } from './launcher-farewell.ts';
import { MpiLibrary } from './mpi-library.ts';
import { MpiLink } from './mpi-link.ts';
import { MpiRequest } from './mpi-request.ts';

/** Time for which a process stays after process 0 has left, where a launcher ends those that are left and can't be told. */
const LINGER_MILLISECONDS = 1000;

/** The processes of one MPI job, seen from one of them. One per process, opened by its main thread. */
export class MpiWorld implements World {
  readonly library: MpiLibrary;
  readonly rank: number;
  readonly size: number;
  /** Name of the machine that this process runs on. */
  readonly host: string;

  private constructor(library: MpiLibrary) {
    this.library = library;
    this.rank = ask((out) => library.call('Comm_rank', library.abi.world, out));
    this.size = ask((out) => library.call('Comm_size', library.abi.world, out));
    this.host = library.text('Get_processor_name');
  }

  /**
   * Joins the job that this process was started in.
   * @param given path or name of the MPI library. Default: MAMBA2_MPI_LIBRARY, or the first that is found.
   * @throws MissingPackageError without koffi; MpiError where there is no library, or it is not that of the launcher.
   */
  static async open(given?: string): Promise<MpiWorld> {
    const launcher = findLauncher(process.env);
    const library = await MpiLibrary.load(given, launcher);
    if (ask((out) => library.call('Initialized', out)) === 0) initialize(library);
    const world = new MpiWorld(library);
    checkLauncher(world, launcher);
    return world;
  }

  get mpiLibrary(): string {
    return this.library.path;
  }

  link(peer: number, channel: number): Link {
    return new MpiLink(this.library, { peer, tag: channel });
  }

  async close(): Promise<void> {
    const all = MpiRequest.barrier(this.library);
    while (!all.test()) await delay(1);
    if (canFinalize(this, process.env)) this.library.call('Finalize');
    else if (!sayFarewell(process.env) && this.rank > 0) await delay(LINGER_MILLISECONDS);
  }
}

/**
 * Whether the process may call Finalize. MPICH 4.0 over UCX does not come back from it where processes of several machines
 * call it at different times: a process waits for a connection that another has closed.
 */
function canFinalize({ library, size }: MpiWorld, { MPI_LOCALNRANKS: onThisMachine }: NodeJS.ProcessEnv): boolean {
  return library.abiName !== 'mpich' || onThisMachine === undefined || Number(onThisMachine) === size;
}

function initialize(library: MpiLibrary): void {
  const { world, errorsReturn, threadMultiple } = library.abi;
  // Ranks exchange on their own threads while this one sends and receives batches.
  const provided = ask((out) => library.call('Init_thread', null, null, threadMultiple, out));
  if (provided < threadMultiple) {
    throw new MpiError(
      `'${library.path}' (${library.version}) may not be called by several threads at once.`,
      'Use a build of it with MPI_THREAD_MULTIPLE, as distributions have.',
    );
  }
  library.call('Comm_set_errhandler', world, errorsReturn);
}

/** A library that does not know its launcher makes of each process a world of its own. */
function checkLauncher({ library, size }: MpiWorld, launcher: Launcher | undefined): void {
  if (launcher === undefined || size === launcher.size) return;
  library.call('Finalize');
  throw new MpiError(
    `${launcher.name} started ${launcher.size} processes, but '${library.path}' (${library.version}) knows of ${size}.`,
    'Start them by the launcher of that library, or say by MAMBA2_MPI_LIBRARY which library the launcher belongs to.',
  );
}

function ask(write: (out: Int32Array) => void): number {
  const out = new Int32Array(1);
  write(out);
  return out[0];
}

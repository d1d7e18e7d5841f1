import type { Link } from '../../distributed/link.ts';
import { MpiWorld } from '../../distributed/mpi/mpi-world.ts';
import type { TcpPlace } from '../../distributed/tcp/tcp-place.ts';
import { TcpWorld } from '../../distributed/tcp/tcp-world.ts';
import { ValueLink } from '../../distributed/value-link.ts';
import type { World } from '../../distributed/world.ts';
import { MpiError, RankFailedError } from '../../errors.ts';
import { VERSION } from '../../version.generated.ts';
import { HostedStage } from '../pipeline/hosted-stage.ts';
import { type FollowOptions, follow } from '../ranks/follow.ts';
import type { Follower, Job, Order, Report } from '../ranks/job.ts';
import { modelOnThisHost } from './follow-model.ts';
import type { LoadOptions } from './load-options.ts';

/** Channel of orders and reports. Others are for links between ranks. */
const CONTROL = 0;
/** Channels until one is used again. */
const CHANNELS = 1024;

/** What a process that follows says first. */
interface Hello {
  readonly host: string;
  readonly version: string;
}

export interface MpiJobOptions {
  /**
   * Path or name of the MPI library, which is that of the launcher. Default: the environment's MAMBA2_MPI_LIBRARY, or else the first
   * that is found under the usual names.
   */
  readonly library?: string | undefined;
}

/**
 * The processes that one `mpirun` or `srun` has started, or that have found each other by an address, seen from one of
 * them. Process 0 loads models on all of them; the others follow it.
 */
export interface MpiJob extends Job {
  /** This process among those of the job, from 0 on. */
  readonly rank: number;
  /** Number of processes. */
  readonly size: number;
  /**
   * Serves process 0 with this process's threads, until that closes the job. SIGTERM and SIGINT, which launchers send to all
   * processes, are left to process 0.
   * @param model as process 0 loads it: each process reads its own files, which must be those of the same model.
   */
  follow(
    model: string,
    options?: Pick<LoadOptions, 'revision' | 'cacheDir' | 'token' | 'endpoint' | 'localFilesOnly' | 'workers'>,
  ): Promise<void>;
  /**
   * Ends the job, when its models are disposed of: in process 0, after which `follow` returns in the others. Each process is
   * to end then.
   */
  close(): Promise<void>;
}

/**
 * Joins the MPI job that this process was started in, and waits until all of its processes have. To be called once, on the
 * main thread. Node only; needs the package koffi.
 * @throws MissingPackageError without koffi; MpiError where there is no MPI library, it is not that of the launcher, or
 * processes have different versions of this package.
 *
 * @example
 * ```ts
 * const job = await openMpiJob();
 * if (job.rank > 0) {
 *   await job.follow('tiny-dts');
 * } else {
 *   const llm = await LLM.load('tiny-dts', { job, tensorParallelSize: job.size });
 *   console.log(await llm.complete('export class ', { maxTokens: 20 }));
 *   await llm.dispose();
 *   await job.close();
 * }
 * ```
 */
export function openMpiJob(options: MpiJobOptions = {}): Promise<MpiJob> {
  return MpiProcess.open(options);
}

/**
 * Joins processes that were started each with its number and the address of process 0, without MPI: for ranks that have
 * GPUs, or two stages. Resolves when all are there. Node only. Nothing that crosses is encrypted, and no process proves which it
 * is: private networks only.
 * @throws ArgumentError; ListenError where process 0 can't have the address; RankFailedError where some do not come in two
 * minutes; MpiError where processes have different versions of this package.
 *
 * @example
 * ```ts
 * const job = await openTcpJob({ address: '10.0.0.1:29500', rank: 0, size: 2 });
 * const llm = await LLM.load('tiny-dts', { job, device: 'cuda', tensorParallelSize: 2 });
 * ```
 */
export function openTcpJob(place: TcpPlace): Promise<MpiJob> {
  return MpiProcess.openTcp(place);
}

/** A process of a job, with what only this package's own programs ask of it. */
export class MpiProcess implements MpiJob {
  readonly followers: readonly Follower[];
  readonly library: string | undefined;
  readonly #world: World;
  readonly #followers: readonly MpiFollower[];
  #isClosed = false;
  #lastChannel = CONTROL;

  private constructor(world: World, followers: readonly MpiFollower[]) {
    this.#world = world;
    this.library = world.mpiLibrary;
    this.#followers = followers;
    this.followers = followers;
  }

  /** See {@link openMpiJob}. */
  static async open({ library }: MpiJobOptions = {}): Promise<MpiProcess> {
    return MpiProcess.#greet(await MpiWorld.open(library));
  }

  /** See {@link openTcpJob}. */
  static async openTcp(place: TcpPlace): Promise<MpiProcess> {
    const world = await TcpWorld.open(place);
    try {
      return await MpiProcess.#greet(world);
    } catch (error) {
      // No launcher ends the others: they see that the connection is closed.
      void world.close();
      throw error;
    }
  }

  static async #greet(world: World): Promise<MpiProcess> {
    if (world.rank > 0) {
      const hello: Hello = { host: world.host, version: VERSION };
      await new ValueLink<Hello, never>(world.link(0, CONTROL)).send(hello);
      return new MpiProcess(world, []);
    }
    const others = Array.from({ length: world.size - 1 }, (_, i) => i + 1);
    return new MpiProcess(world, await Promise.all(others.map((peer) => greet(world, peer))));
  }

  get rank(): number {
    return this.#world.rank;
  }

  get size(): number {
    return this.#world.size;
  }

  get host(): string {
    return this.#world.host;
  }

  link(process: number, channel: number): Link {
    return this.#world.link(process, channel);
  }

  newChannel(): number {
    return ++this.#lastChannel % CHANNELS || this.newChannel();
  }

  async follow(model: string, options: Parameters<MpiJob['follow']>[1] = {}): Promise<void> {
    await this.followWith({
      script: options.workers?.rank,
      prepare: (start, identity) => modelOnThisHost(start, identity, model, options),
    });
  }

  /** {@link follow} for ranks whose weights are no checkpoint's. */
  async followWith(options: FollowOptions): Promise<void> {
    if (this.rank === 0) throw new MpiError('Process 0 of a job has none to follow.', 'Load a model there.');
    const ignore = () => {};
    process.on('SIGTERM', ignore).on('SIGINT', ignore);
    try {
      const control = new ValueLink<Report, Order>(this.#world.link(0, CONTROL));
      const link = (process: number, channel: number) => this.link(process, channel);
      const { script } = options;
      await follow(control, options, (...start) => new HostedStage(...start, { link, script }));
      await this.#leave();
    } finally {
      process.off('SIGTERM', ignore).off('SIGINT', ignore);
    }
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    await Promise.all(this.#followers.map((follower) => follower.finish()));
    await this.#leave();
  }

  async #leave(): Promise<void> {
    this.#isClosed = true;
    await this.#world.close();
  }
}

async function greet(world: World, peer: number): Promise<MpiFollower> {
  const link = world.link(peer, CONTROL);
  const { host, version } = await new ValueLink<never, Hello>(link).receive();
  if (version === VERSION) return new MpiFollower(new ValueLink(link), host);
  throw new MpiError(
    `Host '${host}' has mamba2 ${version}, and this one ${VERSION}.`,
    'Install one version on all hosts.',
  );
}

class MpiFollower implements Follower {
  readonly host: string;
  onReport: ((report: object) => void) | undefined;
  onEnd: ((error: Error) => void) | undefined;
  readonly #link: ValueLink<object, Report>;
  readonly #reading: Promise<void>;

  constructor(link: ValueLink<object, Report>, host: string) {
    this.#link = link;
    this.host = host;
    this.#reading = this.#read().catch((error: unknown) => this.#end(error));
  }

  order(order: object): void {
    this.#link.send(order).catch((error: unknown) => this.#end(error));
  }

  async finish(): Promise<void> {
    this.order({ type: 'finish' });
    await Promise.all([this.#reading, this.#link.flush()]);
  }

  async #read(): Promise<void> {
    for (;;) {
      const report = await this.#link.receive();
      if (report.type === 'finished') return;
      this.onReport?.(report);
    }
  }

  #end(cause: unknown): void {
    const reason = cause instanceof Error ? cause.message : String(cause);
    this.onEnd?.(
      new RankFailedError(`Host '${this.host}' can't be reached: ${reason}`, 'Start the job again.', { cause }),
    );
  }
}

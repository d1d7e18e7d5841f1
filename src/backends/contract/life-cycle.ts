import type { LinearWeight } from './linear.ts';

/** Memory that a model keeps on a backend. */
export interface MemoryNeed {
  readonly matrices: readonly LinearWeight[];
  /** Number of other values, which are float32. */
  readonly floats: number;
}

/** Progress and cancellation of {@link BackendLifeCycle.prepare}. */
export interface PrepareWatch {
  /** Called with the number of kernels that are compiled, and of all. */
  readonly onProgress?: ((compiled: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Members of backends that hold more than memory of their process. */
export interface BackendLifeCycle {
  /** Checks, before a model is loaded, that there is memory for it. @throws OutOfDeviceMemoryError */
  reserve?(need: MemoryNeed): Promise<void>;

  /** Whether it can be used on after an OutOfDeviceMemoryError, which only says that one thing had no room. Default: false. */
  readonly outlivesMissingMemory?: boolean | undefined;

  /** Resolves with the reason when the backend can no longer compute, unless it was disposed of. Absent: never. */
  readonly failed?: Promise<Error> | undefined;

  /** Compiles what each of `runs` enqueues, without running it. Rejects with the signal's reason once that is aborted. */
  prepare?(runs: readonly (() => void)[], watch?: PrepareWatch): Promise<void>;

  /**
   * Numbers of rows, `most` among them: once steps of these numbers of decodes are prepared, those of any other number up
   * to `most` usually need no further kernel.
   */
  decodesToPrepare?(most: number): readonly number[];

  /**
   * Numbers of tokens of a prompt: once steps of these are prepared, prompts of other lengths usually need no further kernel.
   * Absent: the engine's own choice.
   */
  readonly promptsToPrepare?: readonly number[] | undefined;

  /**
   * The length of the chunks that `mambaChunkScan` takes at once where it is told positions. Prompts are divided at multiples
   * of it: a step that ends elsewhere leaves other last bits. Absent: where a prompt is divided changes no bit.
   */
  readonly promptAlignment?: number | undefined;

  /**
   * How many rows may replace one row in what `run` enqueues without any tensor becoming too large for an operation.
   * Nothing runs. Absent: any number.
   */
  maxRows?(run: () => void): number;

  /** Frees what garbage collection does not. The backend can't be used afterwards. */
  dispose?(): void;
}

import type { LinearWeight } from './linear.ts';

/** What a model keeps in a backend's memory. */
export interface MemoryNeed {
  readonly matrices: readonly LinearWeight[];
  /** float32 values beside. */
  readonly floats: number;
}

/** Who watches what is prepared. */
export interface PrepareWatch {
  /** Is told how many of how many kernels are compiled. */
  readonly onProgress?: ((compiled: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What backends that hold more than memory of their process can do besides. */
export interface BackendLifeCycle {
  /** Makes sure that a model will find its memory, before anything of it is loaded. @throws OutOfDeviceMemoryError */
  reserve?(need: MemoryNeed): Promise<void>;

  /** Resolves, with the reason, when it can't compute any more although it was not disposed of. Absent: it does not happen. */
  readonly failed?: Promise<Error> | undefined;

  /** Readies what each of `runs` enqueues without running it. Rejects with the signal's reason once it is aborted. */
  prepare?(runs: readonly (() => void)[], watch?: PrepareWatch): Promise<void>;

  /**
   * Numbers of rows, `most` among them, such that where steps of as many decodes are readied, those of any other number
   * up to `most` usually need nothing else.
   */
  decodesToPrepare?(most: number): readonly number[];

  /**
   * How many rows may take the place of one in what `run` enqueues, for no tensor to become larger than every operation
   * takes. Nothing runs. Absent: any number.
   */
  maxRows?(run: () => void): number;

  /** Gives back what garbage collection does not. The backend can't be used any more. */
  dispose?(): void;
}

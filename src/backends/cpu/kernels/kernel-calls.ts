import { ArgumentError } from '../../../errors.ts';

/** Calls that a computation made, to be made again. */
export type Recording = readonly (() => void)[];

/** Functions by name, which operations call; and what they are replaced with while calls are recorded. */
interface KernelSet {
  readonly called: object;
  readonly originals: object;
  readonly recorders: object;
}

/**
 * A record of calls of kernels. A step whose shapes stay the same calls the same kernels with the same addresses each
 * time, so it can be repeated without the code that decided on them.
 */
export class KernelCalls {
  readonly #sets: KernelSet[] = [];
  #recording: (() => void)[] | undefined;

  /** Kernels whose calls are recorded, when that is asked for. */
  of<K extends object>(kernels: K): K {
    const called = { ...kernels };
    const recorder = (kernel: (...args: number[]) => unknown) => {
      return (...args: number[]) => {
        this.#recording?.push(() => kernel(...args));
        return kernel(...args);
      };
    };
    const recorders = Object.entries(kernels).map(([name, kernel]) => [name, recorder(kernel)] as const);
    this.#sets.push({ called, originals: { ...kernels }, recorders: Object.fromEntries(recorders) });
    return called;
  }

  /** Runs what an operation does on the host, so that it is repeated too. Kernels that it calls belong to it. */
  run(work: () => void): void {
    const recording = this.#recording;
    recording?.push(work);
    this.#recording = undefined;
    work();
    this.#recording = recording;
  }

  /** Whether calls are being recorded: what is left out now is left out of all repetitions. */
  get isRecording(): boolean {
    return this.#recording !== undefined;
  }

  /** @throws ArgumentError while calls are being recorded: host data would not be brought again. */
  assertNotRecording(): void {
    if (this.#recording === undefined) return;
    throw new ArgumentError('A step that may be repeated made a tensor of host data.', 'Pass it as an input.');
  }

  /** Runs a computation and remembers its calls. */
  record<T>(compute: () => T): { result: T; recording: Recording } {
    const recording: (() => void)[] = [];
    this.#recording = recording;
    for (const { called, recorders } of this.#sets) Object.assign(called, recorders);
    try {
      return { result: compute(), recording };
    } finally {
      for (const { called, originals } of this.#sets) Object.assign(called, originals);
      this.#recording = undefined;
    }
  }
}

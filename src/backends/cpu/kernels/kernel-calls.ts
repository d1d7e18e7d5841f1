import { ArgumentError } from '../../../errors.ts';
import type { Kernels } from './kernels.ts';

/** Calls that a computation made, to be made again. */
export type Recording = readonly (() => void)[];

/**
 * The kernels, and a record of their calls. A step whose shapes stay the same calls the same kernels with the same
 * addresses each time, so it can be repeated without the code that decided on them.
 */
export class KernelCalls {
  /** The kernels that operations call. */
  readonly kernels: Kernels;
  readonly #originals: Kernels;
  readonly #recorders: Kernels;
  #recording: (() => void)[] | undefined;

  constructor(kernels: Kernels) {
    this.#originals = { ...kernels };
    this.kernels = { ...kernels };
    const recorder = (kernel: (...args: number[]) => unknown) => {
      return (...args: number[]) => {
        this.#recording?.push(() => kernel(...args));
        return kernel(...args);
      };
    };
    const recorders = Object.entries(this.#originals).map(([name, kernel]) => [name, recorder(kernel)] as const);
    // The same names with the same signatures.
    this.#recorders = Object.fromEntries(recorders) as Kernels;
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
    Object.assign(this.kernels, this.#recorders);
    try {
      return { result: compute(), recording };
    } finally {
      Object.assign(this.kernels, this.#originals);
      this.#recording = undefined;
    }
  }
}

import type { ProgressEvent } from '../index.ts';
import { formatBytes } from './sizes.ts';

interface Count {
  readonly loaded: number;
  readonly total: number;
}

/** Bytes per weight; formats of blocks take what they take in files. */
const WEIGHT_BYTES: Readonly<Record<string, number>> = { float32: 4, bfloat16: 2, float16: 2, int8: 1.03, int4: 0.55 };

/** The state of a load, from all of its events. */
export class LoadProgress {
  /** Bytes that are fetched or stored, by file. */
  readonly #files = new Map<string, Count>();
  #weights: Count | undefined;
  #kernels: Count | undefined;
  #isReady = false;

  add({ status, file, loaded, total }: ProgressEvent): void {
    if (status === 'ready') this.#isReady = true;
    if (loaded === undefined || total === undefined) return;
    if (status === 'load') this.#weights = { loaded, total };
    else if (status === 'compile') this.#kernels = { loaded, total };
    else if (file !== undefined) this.#files.set(file, { loaded, total });
  }

  /** 0 to 1. Weights are read as they arrive, so the lower of the two counts. Kernels are compiled afterwards, from 0 again. */
  get fraction(): number {
    if (this.#isReady) return 1;
    if (this.#kernels) return this.#kernels.loaded / this.#kernels.total;
    const { loaded, total } = this.#fetched;
    const fetched = total === 0 ? 0 : loaded / total;
    const read = this.#weights ? this.#weights.loaded / this.#weights.total : 0;
    // Before the weights, only small files are fetched.
    return this.#weights ? Math.min(fetched, read) : Math.min(fetched, 0.05);
  }

  /** The state as a line of text. */
  get text(): string {
    if (this.#isReady) return 'Ready.';
    if (this.#kernels) return `Compiling for the GPU: ${this.#kernels.loaded} of ${this.#kernels.total} …`;
    const { loaded, total } = this.#fetched;
    if (total === 0) return 'Looking for the model …';
    if (loaded < total) return `${formatBytes(loaded)} of ${formatBytes(total)} are here …`;
    return `Reading ${formatBytes(total)} …`;
  }

  /** Approximate memory of the weights. */
  weightBytes(dtype: string): number {
    const perWeight = WEIGHT_BYTES[dtype];
    if (perWeight !== undefined) return (this.#weights?.total ?? 0) * perWeight;
    const files = [...this.#files].filter(([name]) => name.endsWith('.safetensors'));
    return files.reduce((sum, [, { total }]) => sum + total, 0);
  }

  get #fetched(): Count {
    let sum = { loaded: 0, total: 0 };
    for (const { loaded, total } of this.#files.values()) {
      sum = { loaded: sum.loaded + loaded, total: sum.total + total };
    }
    return sum;
  }
}

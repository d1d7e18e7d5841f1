import type { Backend } from '../../backends/contract/backend.ts';
import { type SampledRow, samplingVectors } from '../../backends/contract/sampling.ts';
import type { Tensor } from '../../tensor/tensor.ts';

/** What becomes of a step's logits. */
export interface SampledLogits {
  /** Those that the host wants. */
  readonly logits: Tensor | undefined;
  /** (rows, 2), of those that become tokens where they are. */
  readonly sampled: Tensor | undefined;
}

/** Which rows of a step's logits become tokens where they are; the host gets the others. */
export class StepSampling {
  /** Inputs of the step. */
  readonly vectors: readonly Int32Array[];
  readonly #numSampled: number;
  readonly #numRows: number;

  /** @param rows undefined: the host wants the row's logits. */
  constructor(rows: readonly (SampledRow | undefined)[]) {
    const sampled = rows.flatMap((row) => row ?? []);
    const indices = (isSampled: boolean) =>
      Int32Array.from(rows.flatMap((row, i) => ((row !== undefined) === isSampled ? [i] : [])));
    this.#numRows = rows.length;
    this.#numSampled = sampled.length;
    const isMixed = this.hasSampled && this.hasLogits;
    this.vectors = this.hasSampled
      ? [...samplingVectors(sampled), ...(isMixed ? [indices(true), indices(false)] : [])]
      : [];
  }

  get hasSampled(): boolean {
    return this.#numSampled > 0;
  }

  get hasLogits(): boolean {
    return this.#numSampled < this.#numRows;
  }

  /** The same for steps that do the same with their inputs. */
  get key(): string {
    return this.hasSampled ? ` sampling ${this.vectors.map(({ length }) => length).join(' ')}` : '';
  }

  /**
   * @param logits (rows, vocabSize)
   * @param vectors `vectors` as tensors; what follows is for others.
   * @param kept what was sampled last for each slot; undefined where the backend does not sample.
   */
  run(backend: Backend, logits: Tensor, vectors: readonly Tensor[], kept: Tensor | undefined): SampledLogits {
    const [rows, edits, sampledRows, logitsRows] = vectors.slice(0, this.vectors.length);
    if (!this.hasSampled || !kept) return { logits, sampled: undefined };
    const chosenFrom = sampledRows ? backend.gatherRows(logits, sampledRows) : logits;
    const sampled = backend.sampling?.sampleTokens(chosenFrom, [rows, edits], kept);
    return { logits: logitsRows && backend.gatherRows(logits, logitsRows), sampled };
  }
}

import type { Backend } from '../../backends/contract/backend.ts';
import { type SampledRow, type SamplingInputs, samplingInputs } from '../../backends/contract/sampling.ts';
import type { StepTensors } from '../../backends/contract/steps.ts';
import type { Tensor } from '../../tensor/tensor.ts';

/** Sampling of a step's logits. */
export interface SampledLogits {
  /** Rows that the host wants. */
  readonly logits: Tensor | undefined;
  /** (rows, 2): tokens and logprobs of rows that are sampled where they are. */
  readonly sampled: Tensor | undefined;
}

/** Inputs of a step that say how it samples. */
type StepSamplingInputs = SamplingInputs & {
  /** Numbers of the rows of logits that are sampled, and of those that go to the host. Absent when all are sampled. */
  readonly rowNumbers: { readonly sampled: Int32Array; readonly host: Int32Array } | undefined;
};

/** The rows of a step's logits that the backend samples; the host gets the others. */
export class StepSampling {
  /** Undefined where nothing is sampled. */
  readonly inputs: StepSamplingInputs | undefined;

  /** @param rows undefined: the host wants the row's logits. */
  constructor(rows: readonly (SampledRow | undefined)[]) {
    const sampled = rows.flatMap((row) => row ?? []);
    if (sampled.length === 0) return;
    const numbers = (isSampled: boolean) =>
      Int32Array.from(rows.flatMap((row, i) => ((row !== undefined) === isSampled ? [i] : [])));
    const isMixed = sampled.length < rows.length;
    const rowNumbers = isMixed ? { sampled: numbers(true), host: numbers(false) } : undefined;
    this.inputs = { ...samplingInputs(sampled), rowNumbers };
  }

  /**
   * @param logits (rows, vocabSize)
   * @param inputs {@link StepSampling.inputs} as tensors.
   * @param kept (slots): the token that was sampled last for each; undefined where the backend does not sample.
   */
  run(
    backend: Backend,
    logits: Tensor,
    inputs: StepTensors<StepSamplingInputs> | undefined,
    kept: Tensor | undefined,
  ): SampledLogits {
    if (!inputs || !kept) return { logits, sampled: undefined };
    const { rowNumbers } = inputs;
    const chosenFrom = rowNumbers ? backend.gatherRows(logits, rowNumbers.sampled) : logits;
    const sampled = backend.sampling?.sampleTokens(chosenFrom, inputs, kept);
    return { logits: rowNumbers && backend.gatherRows(logits, rowNumbers.host), sampled };
  }
}

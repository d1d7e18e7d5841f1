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

/** A row of a step's logits, and what is made of it. */
export interface LogitsRow {
  /** How a token is chosen from it; undefined: the host does that. */
  readonly sampling: SampledRow | undefined;
  /** Whether the host wants it. */
  readonly isRead: boolean;
}

/** Inputs of a step that say how it samples. */
type StepSamplingInputs = SamplingInputs & {
  /** Numbers of the rows of logits that are sampled, and of those that go to the host. Absent where the host wants none. */
  readonly rowNumbers: { readonly sampled: Int32Array; readonly host: Int32Array } | undefined;
};

/** The rows of a step's logits that the backend samples, and those that the host gets. */
export class StepSampling {
  /** Undefined where nothing is sampled. */
  readonly inputs: StepSamplingInputs | undefined;

  constructor(rows: readonly LogitsRow[]) {
    const sampled = rows.flatMap(({ sampling }) => sampling ?? []);
    if (sampled.length === 0) return;
    const numbersOf = (isOne: (row: LogitsRow) => boolean) =>
      Int32Array.from(rows.flatMap((row, i) => (isOne(row) ? [i] : [])));
    const host = numbersOf(({ isRead }) => isRead);
    const rowNumbers =
      host.length === 0 ? undefined : { sampled: numbersOf(({ sampling }) => sampling !== undefined), host };
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
    // A copy: choosing changes logits.
    const chosenFrom = rowNumbers ? backend.gatherRows(logits, rowNumbers.sampled) : logits;
    const sampled = backend.sampling?.sampleTokens(chosenFrom, inputs, kept);
    return { logits: rowNumbers && backend.gatherRows(logits, rowNumbers.host), sampled };
  }
}

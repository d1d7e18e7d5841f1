import type { Tensor } from '../../tensor/tensor.ts';
import type { StepTensors } from './steps.ts';

/** Token id that stands for the token that was sampled last for a sequence's slot. */
export const LAST_SAMPLED = -1;

/** Change of one logit before a token is chosen: bias first, then the repetition penalty, then the penalty. */
export interface LogitEdit {
  readonly tokenId: number;
  /** Added to the logit; -Infinity forbids the token. */
  readonly bias: number;
  /** Whether the row's repetition penalty applies. */
  readonly isRepeated: boolean;
  /** Taken from the logit. */
  readonly penalty: number;
}

/** Choice of a row's token: temperature, min-p, top-k, top-p, draw, in this order. */
export interface TokenSampling {
  /** 0: the likeliest token. Those above 1e36 are taken for that: all tokens that are kept are equally likely. */
  readonly temperature: number;
  /** 0: all. */
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  /** The draw, in [0, 1): where in the running sum of probabilities, by token id, the chosen token lies. */
  readonly u: number;
  readonly repetitionPenalty: number;
  /** At most one per token id. */
  readonly edits: readonly LogitEdit[];
  /** Bits of the tokens that may be chosen, in words of 32; all others are forbidden. Absent: all may. */
  readonly allowed?: Int32Array | undefined;
  /** Tokens that end the sequence, at most {@link MAX_END_TOKENS}: the backend does not look at further ones. */
  readonly endTokenIds: readonly number[];
}

/** The likeliest token, and nothing else. */
export const GREEDY: TokenSampling = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  u: 0,
  repetitionPenalty: 1,
  edits: [],
  endTokenIds: [],
};

/** A row's sampling, with the slot where the chosen token is kept. */
export interface SampledRow extends TokenSampling {
  readonly slot: number;
}

/**
 * Choice of tokens on the device that has the logits, for backends that would otherwise copy them to the host. With the
 * same draw the choice is that of the engine's Sampler, up to float32 rounding of probabilities. Tokens less likely
 * than 2⁻³¹ are never drawn; of tokens at the edge of top-k or top-p that are equally likely to within 2⁻³⁰, all are
 * kept.
 */
export interface SamplingOps {
  /**
   * Chooses a token for each row of logits (B, vocabSize), which are changed as the rows' edits say.
   * @param rows `samplingInputs` of these rows, as tensors.
   * @param sampled (slots): a row's token is also kept at its slot, or -1 when it ended the sequence.
   * @returns (B, 2): token id and its logprob under the logits as they were; -1 and 0 when those are no finite numbers.
   */
  sampleTokens(logits: Tensor, rows: SamplingTensors, sampled: Tensor): Tensor;

  /**
   * Puts in place of `LAST_SAMPLED` in tokenIds (B) what `sampled` holds at the row's slot. A sequence that ended
   * gets the slot PAD_SLOT_ID, so that nothing is computed for it.
   */
  takeSampled(tokenIds: Tensor, slots: Tensor, sampled: Tensor): { readonly tokenIds: Tensor; readonly slots: Tensor };
}

export const MAX_END_TOKENS = 7;

/** int32 values per row, float32 ones by their bits; see sampling.wgsl. */
export const ROW_FIELDS = 10 + MAX_END_TOKENS;
/** int32 values per edit, float32 ones by their bits. */
export const EDIT_FIELDS = 4;

/**
 * The highest temperature on the device. Differences of logits, divided by it, are nothing, and a forbidden token's -3.4e38 is
 * still enough below them to leave no share; the temperature's inverse is a normal number of float32.
 */
const HOTTEST = 1e36;
/** The range of positive numbers of float32 that no device takes for 0 or infinity. */
const [SMALLEST, LARGEST] = [2 ** -126, (2 - 2 ** -23) * 2 ** 127];

const IS_REPEATED = 1;
const IS_FORBIDDEN = 2;
/** Edits, and the bits of allowed tokens after them, are padded to powers of two from here on, so that steps with other edits have the same shapes. */
const FEWEST_EDITS = 64;

/** Instructions for sampling rows, as int32 vectors of few lengths: inputs of a step that can be repeated. */
export type SamplingInputs = {
  /** `ROW_FIELDS` values per row. */
  readonly rows: Int32Array;
  /** `EDIT_FIELDS` values per edit, and after them the words of allowed tokens of the rows that have some. */
  readonly edits: Int32Array;
};

export type SamplingTensors = StepTensors<SamplingInputs>;

/** Rows for {@link SamplingOps.sampleTokens}. */
export function samplingInputs(rows: readonly SampledRow[]): SamplingInputs {
  const numEdits = rows.reduce((sum, { edits }) => sum + edits.length, 0);
  const numWords = rows.reduce((sum, { allowed }) => sum + (allowed?.length ?? 0), 0);
  const size = numEdits + Math.ceil(numWords / EDIT_FIELDS);
  const capacity = 2 ** Math.ceil(Math.log2(Math.max(FEWEST_EDITS, size)));
  const table = new Packer(rows.length * ROW_FIELDS);
  const edits = new Packer(capacity * EDIT_FIELDS);
  let firstWord = numEdits * EDIT_FIELDS;
  for (const row of rows) {
    const { slot, edits: own, allowed, endTokenIds, temperature, topP, minP, topK, u, repetitionPenalty } = row;
    const firstEdit = edits.length / EDIT_FIELDS;
    const penalty = Math.min(LARGEST, Math.max(SMALLEST, repetitionPenalty));
    table.floats(Math.min(HOTTEST, temperature), topP, minP, u, penalty);
    table.ints(topK, slot, firstEdit, own.length, allowed ? firstWord : -1);
    if (allowed) edits.values.set(allowed, firstWord);
    firstWord += allowed?.length ?? 0;
    for (let i = 0; i < MAX_END_TOKENS; i++) table.ints(endTokenIds[i] ?? -1);
    for (const { tokenId, bias, isRepeated, penalty } of own) {
      const isForbidden = bias === Number.NEGATIVE_INFINITY;
      edits.ints(tokenId, (isRepeated ? IS_REPEATED : 0) + (isForbidden ? IS_FORBIDDEN : 0));
      edits.floats(isForbidden ? 0 : bias, penalty);
    }
  }
  return { rows: table.values, edits: edits.values };
}

/** Writes numbers one after another. */
class Packer {
  readonly values: Int32Array<ArrayBuffer>;
  readonly #floats: Float32Array;
  length = 0;

  constructor(length: number) {
    this.values = new Int32Array(length);
    this.#floats = new Float32Array(this.values.buffer);
  }

  ints(...values: readonly number[]): void {
    for (const value of values) this.values[this.length++] = value;
  }

  floats(...values: readonly number[]): void {
    for (const value of values) this.#floats[this.length++] = value;
  }
}

import type { LogDecays, LogitsRows, StepOutput } from './executor.ts';
import type { Request } from './request.ts';
import type { Sample } from './sampler.ts';
import type { ScheduledWork } from './scheduler.ts';
import type { Sequence } from './sequence.ts';

/** Where a step left a sequence. */
export interface SteppedSequence {
  readonly sequence: Sequence;
  /** (vocabSize), after its last processed token; undefined where the executor sampled. */
  readonly logits: Float32Array | undefined;
  /** The next token, once all before it are processed, or why there is none. */
  readonly sample?: Sample | Error;
}

/** The rows whose logits a request's sequences need: evaluations look at all. */
export function logitsRows({ wantsPromptLogits }: Request): LogitsRows {
  return wantsPromptLogits ? 'all' : 'last';
}

/** Whether a request wants to know how long its sequences' states last. */
export function isWatched({ params }: Request): boolean {
  return params.halfLifeInterval !== undefined;
}

/** Hands what a step gives to its sequences, and samples where a next token can be chosen. */
export function sampleStep(
  scheduled: readonly ScheduledWork[],
  { logits, sampled, logDecays }: StepOutput,
  vocabSize: number,
): SteppedSequence[] {
  const failed = logDecays ? measureDecays(scheduled, logDecays) : new Map<Sequence, Error>();
  let begin = 0;
  let numSampled = 0;
  return scheduled.flatMap(({ sequence, numTokens, isSampled }) => {
    if (isSampled && sampled) {
      const [tokenId, logprob] = sampled.subarray(2 * numSampled++);
      return sequence.slot === undefined ? [] : [acceptSampled(sequence, tokenId, logprob)];
    }
    const numRows = logitsRows(sequence.request) === 'all' ? numTokens : Math.min(numTokens, 1);
    const rows = logits.subarray(begin, begin + numRows * vocabSize);
    begin += rows.length;
    // Without a slot it was aborted while the step ran.
    if (sequence.slot === undefined) return [];
    const error = failed.get(sequence);
    return error
      ? [{ sequence, logits: undefined, sample: error }]
      : sampleSequence(sequence, numTokens, rows, vocabSize);
  });
}

/** @returns sequences of which that failed. */
function measureDecays(scheduled: readonly ScheduledWork[], { heads, sums }: LogDecays): Map<Sequence, Error> {
  const width = heads.reduce((sum, count) => sum + count, 0);
  const watched = scheduled.filter(({ sequence, numTokens }) => numTokens > 0 && isWatched(sequence.request));
  const failed = new Map<Sequence, Error>();
  for (const [i, { sequence, numTokens }] of watched.entries()) {
    try {
      sequence.halfLives?.add(numTokens, heads, sums.subarray(i * width, (i + 1) * width));
    } catch (error) {
      failed.set(sequence, asError(error));
    }
  }
  return failed;
}

function acceptSampled(sequence: Sequence, tokenId: number, logprob: number): SteppedSequence {
  sequence.advance(1);
  try {
    return { sequence, logits: undefined, sample: sequence.accept(tokenId, logprob) };
  } catch (error) {
    return { sequence, logits: undefined, sample: asError(error) };
  }
}

/** The sequence, and at a prompt's end all answers that go on from it. */
function sampleSequence(
  sequence: Sequence,
  numTokens: number,
  rows: Float32Array,
  vocabSize: number,
): SteppedSequence[] {
  const { request, knownLogits, numComputedTokens } = sequence;
  const logits = knownLogits ?? rows.subarray(rows.length - vocabSize);
  sequence.advance(numTokens);
  try {
    if (request.wantsPromptLogits) request.receivePromptLogits(rows, numComputedTokens, vocabSize);
    if (sequence.numUncomputedTokens > 0 || request.isEvaluation) return [{ sequence, logits }];
    // Forks first: they copy a slot that the sequence gives back if it ends here.
    const answers = [...request.addForks(), sequence];
    return answers.map((answer) => ({ sequence: answer, logits, sample: answer.sample(logits) }));
  } catch (error) {
    return [{ sequence, logits, sample: asError(error) }];
  }
}

export function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

import { Turns, yieldToEventLoop } from '../../distributed/event-loop.ts';
import { asError } from '../../util/as-error.ts';
import type { Request, Sequence } from '../request/request.ts';
import type { LogDecays, LogitsRows, StepOutput } from '../run/executor.ts';
import type { Sample } from '../sample/sampler.ts';
import type { ScheduledWork } from './scheduler.ts';

/** A sequence after a step. */
export interface SteppedSequence {
  readonly sequence: Sequence;
  /** Logits (vocabSize) after the last processed token; undefined if the executor sampled and did not give them. */
  readonly logits: Float32Array | undefined;
  /** The next token, or the error that prevented it. Absent while tokens are left to process. */
  readonly sample?: Sample | Error;
  /** What was guessed to follow, if that is not known yet to be wrong. */
  readonly guess?: Guess | undefined;
}

/** Guessed tokens of a sequence, and what the model says after each. */
export interface Guess {
  readonly sequence: Sequence;
  readonly drafts: readonly number[];
  /** Whether the executor chose the tokens. */
  readonly isSampled: boolean;
  /** (drafts, 2): tokens and logprobs that it chose after each of them. Else (drafts, vocabSize): the logits there. */
  readonly rows: Float32Array;
  /** How many have turned out to be right. */
  readonly accepted: number;
}

/** Rows whose logits a request needs: all for an evaluation that reads them, else the last. */
export function logitsRows({ wantsPromptLogits }: Request): LogitsRows {
  return wantsPromptLogits ? 'all' : 'last';
}

/** Whether a request asks for half-lives. */
export function isWatched({ params }: Request): boolean {
  return params.halfLifeInterval !== undefined;
}

/** Number of logits that are read in one turn of the event loop: some milliseconds' work. */
const TURN_LOGITS = 2 ** 18;

/**
 * Gives the logits of prompts to the requests that read all of them, with turns of the event loop in between.
 * @returns sequences whose receiver failed, with its error.
 */
async function receivePromptLogits(
  scheduled: readonly ScheduledWork[],
  { logits, sampled }: StepOutput,
  vocabSize: number,
): Promise<Map<Sequence, Error>> {
  const failed = new Map<Sequence, Error>();
  const turnRows = Math.max(1, Math.floor(TURN_LOGITS / vocabSize));
  let first = 0;
  for (const work of scheduled) {
    const { sequence, numTokens, isSampled } = work;
    if (isSampled && sampled) {
      if (work.givesLogits) first++;
      continue;
    }
    const numRows = numRowsOf(work);
    if (sequence.request.wantsPromptLogits) {
      const { numComputedTokens } = sequence;
      for (let row = 0; row < numRows; row += turnRows) {
        if (row > 0) await yieldToEventLoop();
        // A sequence without a slot was aborted meanwhile.
        if (sequence.slot === undefined) break;
        const end = Math.min(row + turnRows, numTokens);
        const rows = logits.subarray((first + row) * vocabSize, (first + end) * vocabSize);
        try {
          sequence.request.receivePromptLogits(rows, numComputedTokens + row, vocabSize);
        } catch (error) {
          failed.set(sequence, asError(error));
          break;
        }
      }
    }
    first += numRows + work.drafts.length;
  }
  return failed;
}

function numRowsOf({ sequence, numTokens }: ScheduledWork): number {
  return logitsRows(sequence.request) === 'all' ? numTokens : Math.min(numTokens, 1);
}

/**
 * Gives a step's output to its sequences, and samples the next token of each that has no more tokens to process. Turns of
 * the event loop come in between.
 */
export async function sampleStep(
  scheduled: readonly ScheduledWork[],
  output: StepOutput,
  vocabSize: number,
): Promise<SteppedSequence[]> {
  const { logits, sampled, logDecays } = output;
  const failed = logDecays ? measureDecays(scheduled, logDecays) : new Map<Sequence, Error>();
  if (scheduled.some(({ sequence }) => sequence.request.wantsPromptLogits)) {
    for (const [sequence, error] of await receivePromptLogits(scheduled, output, vocabSize))
      failed.set(sequence, error);
  }
  const stepped: SteppedSequence[] = [];
  // Large vocabularies and many answers take long.
  const turns = new Turns();
  let begin = 0;
  let numSampled = 0;
  for (const work of scheduled) {
    const { sequence, numTokens, isSampled, drafts } = work;
    const isTentative = drafts.length > 0;
    if (isSampled && sampled) {
      const chosen = sampled.subarray(2 * numSampled, 2 * (numSampled + 1 + drafts.length));
      numSampled += 1 + drafts.length;
      const row = work.givesLogits ? logits.subarray(begin, begin + vocabSize) : undefined;
      if (row) begin += vocabSize;
      if (sequence.slot === undefined) continue;
      const guess = isTentative ? { sequence, drafts, isSampled, rows: chosen.subarray(2), accepted: 0 } : undefined;
      stepped.push({ ...acceptSampled(sequence, { numTokens, isTentative }, chosen, row), guess });
      continue;
    }
    const all = logits.subarray(begin, begin + (numRowsOf(work) + drafts.length) * vocabSize);
    const rows = all.subarray(0, all.length - drafts.length * vocabSize);
    begin += all.length;
    await turns.next();
    // A sequence without a slot was aborted while the step ran, or while others were sampled.
    if (sequence.slot === undefined) continue;
    const error = failed.get(sequence);
    if (error) {
      stepped.push({ sequence, logits: undefined, sample: error });
      continue;
    }
    const lastRow = rows.subarray(rows.length - vocabSize);
    const guess = isTentative
      ? { sequence, drafts, isSampled: false, rows: all.subarray(rows.length), accepted: 0 }
      : undefined;
    for (const each of await sampleSequence(sequence, { numTokens, isTentative, lastRow }, turns)) {
      stepped.push({ ...each, guess: each.sequence === sequence ? guess : undefined });
    }
  }
  return stepped;
}

/**
 * The guesses whose next token is that of the answer, which continues.
 * @param onOver gets all others.
 */
export function confirmedGuesses(stepped: readonly SteppedSequence[], onOver: (guess: Guess) => void): Guess[] {
  const confirmed: Guess[] = [];
  for (const { sequence, sample, guess } of stepped) {
    if (!guess) continue;
    const { drafts, accepted } = guess;
    const isRight = sample && !(sample instanceof Error) && sample.tokenId === drafts[accepted];
    const next = { ...guess, accepted: accepted + (isRight ? 1 : 0) };
    const continues = isRight && sequence.slot !== undefined && sequence.finishReason === null;
    if (continues) confirmed.push(next);
    else onOver(next);
  }
  return confirmed;
}

/**
 * Chooses the token after the last that was guessed right, for each sequence.
 * @param onOver gets the guesses all of whose tokens were right.
 */
export async function sampleGuesses(
  guesses: readonly Guess[],
  vocabSize: number,
  onOver: (guess: Guess) => void,
): Promise<SteppedSequence[]> {
  const stepped: SteppedSequence[] = [];
  const turns = new Turns();
  for (const guess of guesses) {
    const { sequence, accepted, drafts, isSampled, rows } = guess;
    await turns.next();
    if (sequence.slot === undefined) continue;
    const width = isSampled ? 2 : vocabSize;
    const row = rows.subarray((accepted - 1) * width, accepted * width);
    const isOver = accepted === drafts.length;
    const next = isSampled
      ? [acceptSampled(sequence, { numTokens: 1, isTentative: true }, row)]
      : await sampleSequence(sequence, { numTokens: 1, isTentative: true, lastRow: row }, turns);
    for (const each of next) stepped.push({ ...each, guess: isOver ? undefined : guess });
    if (isOver) onOver(guess);
  }
  return stepped;
}

/** Adds a step's decays to the meters of watched sequences. @returns sequences whose meter failed, with its error. */
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

/**
 * Gives a sequence the token that the executor chose.
 * @param chosen the token and its logprob.
 * @param logits that it chose from, where they were asked for.
 */
function acceptSampled(
  sequence: Sequence,
  { numTokens, isTentative }: Omit<ProcessedTokens, 'lastRow'>,
  [tokenId, logprob]: Float32Array,
  logits?: Float32Array,
): SteppedSequence {
  sequence.advance(numTokens, isTentative);
  try {
    return { sequence, logits, sample: sequence.accept(tokenId, logprob) };
  } catch (error) {
    return { sequence, logits, sample: asError(error) };
  }
}

/** Tokens of a sequence that a step has processed. */
interface ProcessedTokens {
  readonly numTokens: number;
  /** Whether the slot's state lacks them. */
  readonly isTentative: boolean;
  /** Logits after the last. */
  readonly lastRow: Float32Array;
}

/** Samples for a sequence, and at a prompt's end for all answers that continue from it. */
async function sampleSequence(
  sequence: Sequence,
  { numTokens, isTentative, lastRow }: ProcessedTokens,
  turns: Turns,
): Promise<SteppedSequence[]> {
  const { request, knownLogits } = sequence;
  const logits = knownLogits ?? lastRow;
  sequence.advance(numTokens, isTentative);
  try {
    if (sequence.numUncomputedTokens > 0 || request.isEvaluation) return [{ sequence, logits }];
    if (sequence.isMaskPending) {
      sequence.knownLogits = knownLogits ?? logits.slice();
      return [{ sequence, logits }];
    }
    const sampled: SteppedSequence[] = [];
    // Forks first: they copy a slot that the sequence gives back if it ends here.
    for (const answer of [...request.addForks(), sequence]) {
      await turns.next();
      if (request.isEnded) return [];
      sampled.push({ sequence: answer, logits, sample: answer.sample(logits) });
    }
    return sampled;
  } catch (error) {
    return [{ sequence, logits, sample: asError(error) }];
  }
}

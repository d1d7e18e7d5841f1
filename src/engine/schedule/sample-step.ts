import { Turns, yieldToEventLoop } from '../../distributed/event-loop.ts';
import { asError } from '../../util/as-error.ts';
import type { Request, Sequence } from '../request/request.ts';
import type { LogDecays, LogitsRows, StepOutput } from '../run/executor.ts';
import type { Sample } from '../sample/sampler.ts';
import type { ScheduledWork } from './scheduler.ts';

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

/** Logits that are looked at in one turn of the event loop: some milliseconds' work. */
const TURN_LOGITS = 2 ** 18;

/**
 * Hands the logits of prompts to the requests that look at all of them, with turns of the event loop in between.
 * @returns sequences of which that failed.
 */
export async function receivePromptLogits(
  scheduled: readonly ScheduledWork[],
  { logits, sampled }: StepOutput,
  vocabSize: number,
): Promise<Map<Sequence, Error>> {
  const failed = new Map<Sequence, Error>();
  const turnRows = Math.max(1, Math.floor(TURN_LOGITS / vocabSize));
  let first = 0;
  for (const work of scheduled) {
    const { sequence, numTokens, isSampled } = work;
    if (isSampled && sampled) continue;
    const numRows = numRowsOf(work);
    if (sequence.request.wantsPromptLogits) {
      const { numComputedTokens } = sequence;
      for (let row = 0; row < numRows; row += turnRows) {
        if (row > 0) await yieldToEventLoop();
        // Without a slot it was aborted meanwhile.
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
    first += numRows;
  }
  return failed;
}

function numRowsOf({ sequence, numTokens }: ScheduledWork): number {
  return logitsRows(sequence.request) === 'all' ? numTokens : Math.min(numTokens, 1);
}

/** What takes longer to choose than this waits for the next turn of the event loop: large vocabularies, many answers. */
const TURN_MILLISECONDS = 5;

/**
 * Hands what else a step gives to its sequences, and samples where a next token can be chosen, with turns of the event loop
 * in between.
 * @param failures sequences that have failed already.
 */
export async function sampleStep(
  scheduled: readonly ScheduledWork[],
  { logits, sampled, logDecays }: StepOutput,
  vocabSize: number,
  failures: ReadonlyMap<Sequence, Error>,
): Promise<SteppedSequence[]> {
  const failed = new Map([...(logDecays ? measureDecays(scheduled, logDecays) : []), ...failures]);
  const stepped: SteppedSequence[] = [];
  const turns = new Turns(TURN_MILLISECONDS);
  let begin = 0;
  let numSampled = 0;
  for (const work of scheduled) {
    const { sequence, numTokens, isSampled } = work;
    if (isSampled && sampled) {
      const [tokenId, logprob] = sampled.subarray(2 * numSampled++);
      if (sequence.slot !== undefined) stepped.push(acceptSampled(sequence, tokenId, logprob));
      continue;
    }
    const rows = logits.subarray(begin, begin + numRowsOf(work) * vocabSize);
    begin += rows.length;
    await turns.next();
    // Without a slot it was aborted while the step ran, or while others were sampled.
    if (sequence.slot === undefined) continue;
    const error = failed.get(sequence);
    if (error) stepped.push({ sequence, logits: undefined, sample: error });
    else
      for (const each of await sampleSequence(sequence, numTokens, rows.subarray(rows.length - vocabSize), turns))
        stepped.push(each);
  }
  return stepped;
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
async function sampleSequence(
  sequence: Sequence,
  numTokens: number,
  lastRow: Float32Array,
  turns: Turns,
): Promise<SteppedSequence[]> {
  const { request, knownLogits } = sequence;
  const logits = knownLogits ?? lastRow;
  sequence.advance(numTokens);
  try {
    if (sequence.numUncomputedTokens > 0 || request.isEvaluation) return [{ sequence, logits }];
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

import { type AnswerDelta, DeltaList } from './answer-delta.ts';
import { ReasoningParser } from './reasoning.ts';
import type { ThoughtMarkers } from './thought-text.ts';
import { type ToolCallsOptions, ToolCallsParser } from './tool-calls-parser.ts';

/** What an answer may have besides text. */
export interface AnswerForm {
  readonly reasoning?: ThoughtMarkers | undefined;
  readonly toolCalls?: ToolCallsOptions | undefined;
}

/**
 * Splits an answer into text, thoughts and calls while it grows. The same text gives the same parts, however it is cut
 * into pieces. It throws at no text.
 *
 * @example
 * ```ts
 * const parser = new AnswerParser(parsers.form({ tools }));
 * for (const piece of pieces) console.log(parser.push(piece));
 * console.log(parser.flush());
 * ```
 */
export class AnswerParser {
  readonly #deltas = new DeltaList();
  readonly #reasoning: ReasoningParser | undefined;
  readonly #toolCalls: ToolCallsParser | undefined;
  /** First half of a character that the last piece cut in two. */
  #half = '';

  constructor({ reasoning, toolCalls }: AnswerForm) {
    this.#toolCalls = toolCalls && new ToolCallsParser(toolCalls, this.#deltas);
    const next = (text: string) => this.#answer(text);
    this.#reasoning = reasoning && new ReasoningParser(reasoning, this.#deltas, next);
  }

  /** Whether the answer is inside its thoughts. */
  get isThinking(): boolean {
    return this.#reasoning?.isThinking ?? false;
  }

  /** The parts that a piece of the answer makes certain. */
  push(piece: string): AnswerDelta[] {
    const text = this.#half + piece;
    const isCut = HIGH_SURROGATE.test(text);
    this.#half = isCut ? text.slice(-1) : '';
    this.#push(isCut ? text.slice(0, -1) : text);
    return this.#deltas.take();
  }

  /** The parts that were held back, once no piece follows. */
  flush(): AnswerDelta[] {
    this.#push(this.#half);
    this.#half = '';
    this.#reasoning?.flush();
    this.#toolCalls?.flush();
    return this.#deltas.take();
  }

  #push(text: string): void {
    if (this.#reasoning) this.#reasoning.push(text);
    else this.#answer(text);
  }

  #answer(text: string): void {
    if (this.#toolCalls) this.#toolCalls.push(text);
    else this.#deltas.push({ type: 'text', text });
  }
}

const HIGH_SURROGATE = /[\uD800-\uDBFF]$/;

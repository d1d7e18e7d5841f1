import { AnswerReader, type ChatFinishReason } from '../../engine/chat/answer-reader.ts';
import type { CompletionOutput } from '../../engine/request/request-output.ts';
import type { AnswerDelta } from '../../text/parsers/answer-delta.ts';
import type { AnswerForm } from '../../text/parsers/answer-parser.ts';
import { ParsedAnswer } from '../../text/parsers/parsed-answer.ts';
import type { GenerationOutput } from './generation.ts';

/** The only answer to a prompt, read while it grows: for APIs that give no further ones. */
export class SingleAnswer {
  /** The parts that {@link add} has collected. */
  readonly parsed = new ParsedAnswer();
  readonly #reader: AnswerReader;
  readonly #showsThoughts: boolean;
  #stopReason: CompletionOutput['stopReason'] = null;

  /** @param showsThoughts whether parts of thoughts are given, besides their number of tokens. */
  constructor(form: AnswerForm, showsThoughts = true) {
    this.#reader = new AnswerReader(form);
    this.#showsThoughts = showsThoughts;
  }

  /** Set with the last output. */
  get finishReason(): ChatFinishReason | null {
    return this.#reader.finishReason;
  }

  /** Stop string or token that ended the answer. */
  get stopReason(): CompletionOutput['stopReason'] {
    return this.#stopReason;
  }

  get reasoningTokens(): number {
    return this.#reader.reasoningTokens;
  }

  /** The parts that an output makes certain. */
  read({ outputs }: GenerationOutput): readonly AnswerDelta[] {
    const deltas = outputs.flatMap(({ tokens, finishReason, stopReason }) => {
      this.#stopReason = stopReason;
      return this.#reader.push(tokens, finishReason);
    });
    return this.#showsThoughts ? deltas : deltas.filter(({ type }) => type !== 'reasoning');
  }

  /** Collects the parts of an output. */
  add(output: GenerationOutput): void {
    this.parsed.add(this.read(output));
  }
}

import type { HalfLives } from '../../engine/request/half-lives.ts';
import { LogprobColumns } from '../../engine/request/logprob-columns.ts';
import type { CompletionOutput } from '../../engine/request/request-output.ts';
import { LongText } from '../../util/long-text.ts';
import type { ChoiceEnd } from '../wire/choice-end.ts';
import { halfLivesField } from '../wire/half-lives.ts';
import { JsonList, type Written } from './json-pieces.ts';

/** Answer that arrives in parts and is sent whole. It takes little memory, because there may be many long answers. */
export class CollectedAnswer {
  /** Tokens with their logprobs, if the writer needs them. */
  readonly tokens: LogprobColumns | undefined;
  finishReason: CompletionOutput['finishReason'] = null;
  stopReason: CompletionOutput['stopReason'] = null;
  /** Latest report of half-lives. */
  halfLives: HalfLives | undefined;
  readonly #text = new LongText();

  /** @param topLogprobs that each token has at most; undefined: tokens are not kept. */
  constructor(topLogprobs: number | undefined) {
    this.tokens = topLogprobs === undefined ? undefined : new LogprobColumns(topLogprobs);
  }

  add({ text, tokens, finishReason, stopReason }: CompletionOutput): void {
    this.#text.add(text);
    for (const token of tokens) {
      this.tokens?.push(token);
      this.halfLives = token.halfLives ?? this.halfLives;
    }
    this.finishReason = finishReason;
    this.stopReason = stopReason;
  }

  get text(): string {
    return this.#text.toString();
  }

  /** Last fields of the choice; the list of token ids is made when it is written. */
  end(givesIds = false): Written<ChoiceEnd> {
    return {
      finish_reason: this.finishReason,
      stop_reason: this.stopReason,
      ...(givesIds && { token_ids: new JsonList(() => this.#tokenIds()) }),
      ...halfLivesField(this.halfLives),
    };
  }

  *#tokenIds(): Generator<number, void> {
    for (const { tokenId } of this.tokens ?? []) yield tokenId;
  }
}

/** The answers of a request by their indices. */
export class CollectedAnswers {
  readonly #answers = new Map<number, CollectedAnswer>();
  readonly #topLogprobs: number | undefined;

  /** @param topLogprobs as for a {@link CollectedAnswer}. */
  constructor(topLogprobs: number | undefined) {
    this.#topLogprobs = topLogprobs;
  }

  add(index: number, output: CompletionOutput): void {
    const answer = this.#answers.get(index) ?? new CollectedAnswer(this.#topLogprobs);
    this.#answers.set(index, answer);
    answer.add(output);
  }

  /** Indices and answers, in order. */
  sorted(): [number, CollectedAnswer][] {
    return [...this.#answers].sort(([a], [b]) => a - b);
  }
}

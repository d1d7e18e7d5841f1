import type { HalfLives } from '../../engine/request/half-lives.ts';
import { LogprobColumns } from '../../engine/request/logprob-columns.ts';
import type { CompletionOutput } from '../../engine/request/request-output.ts';
import type { ChoiceEnd } from '../wire/choice-end.ts';
import { halfLivesField } from '../wire/half-lives.ts';
import { JsonList, type Written } from './json-pieces.ts';

/** Number of parts of a text that are joined at a time: V8 keeps each part of a text that only grows by `+=`. */
const PIECES = 512;

/** Answer that arrives in parts and is sent whole. It takes little memory, because there may be many long answers. */
export class CollectedAnswer {
  /** Tokens with their logprobs, if the writer needs them. */
  readonly tokens: LogprobColumns | undefined;
  finishReason: CompletionOutput['finishReason'] = null;
  stopReason: CompletionOutput['stopReason'] = null;
  /** Latest report of half-lives. */
  halfLives: HalfLives | undefined;
  readonly #texts: string[] = [];
  readonly #pieces: string[] = [];

  /** @param topLogprobs that each token has at most; undefined: tokens are not kept. */
  constructor(topLogprobs: number | undefined) {
    this.tokens = topLogprobs === undefined ? undefined : new LogprobColumns(topLogprobs);
  }

  add({ text, tokens, finishReason, stopReason }: CompletionOutput): void {
    this.#pieces.push(text);
    if (this.#pieces.length >= PIECES) this.#texts.push(this.#pieces.splice(0).join(''));
    for (const token of tokens) {
      this.tokens?.push(token);
      this.halfLives = token.halfLives ?? this.halfLives;
    }
    this.finishReason = finishReason;
    this.stopReason = stopReason;
  }

  get text(): string {
    return [...this.#texts, ...this.#pieces].join('');
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

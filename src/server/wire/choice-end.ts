import type { CompletionOutput, FinishReason } from '../../engine/request/request-output.ts';
import { type HalfLivesField, halfLivesField, latestHalfLives } from './half-lives.ts';

/** Fields that choices of completions and of chats have in common, streamed or not. */
export interface ChoiceEnd {
  readonly finish_reason: FinishReason | null;
  /** Field of vLLM: the stop string or token; null for the model's own end of text. */
  readonly stop_reason: string | number | null;
  /** Field of vLLM, present with `return_token_ids`. */
  readonly token_ids?: readonly number[];
  /** Latest report of half-lives, present with `half_life_interval`. */
  readonly half_lives?: HalfLivesField;
}

/** The end of a streamed choice: what these tokens add. */
export function choiceEnd({ tokens, finishReason, stopReason }: CompletionOutput, givesIds = false): ChoiceEnd {
  return {
    finish_reason: finishReason,
    stop_reason: stopReason,
    ...(givesIds && { token_ids: tokens.map(({ tokenId }) => tokenId) }),
    ...halfLivesField(latestHalfLives(tokens)),
  };
}

import type { FinishReason } from './request/request-output.ts';
import type { StateStoreEvent } from './store/store-events.ts';

/** Events of the engine. Times are in seconds. */
export type EngineEvent =
  | StateStoreEvent
  | {
      readonly type: 'step';
      /** Prompt tokens and answer tokens that were processed. */
      readonly prefillTokens: number;
      readonly decodeTokens: number;
      readonly seconds: number;
    }
  | {
      readonly type: 'firstToken';
      readonly requestId: string;
      /** Time since the request was added. */
      readonly seconds: number;
    }
  | {
      /** A further token of one answer. */
      readonly type: 'nextToken';
      readonly requestId: string;
      /** Time since the last token. */
      readonly seconds: number;
    }
  | {
      readonly type: 'finished';
      readonly requestId: string;
      /** Reason of the first answer; how the request ended if its answers did not. */
      readonly reason: FinishReason | 'abort' | 'error';
      readonly promptTokens: number;
      readonly cachedTokens: number;
      /** Tokens of all answers. */
      readonly completionTokens: number;
      /** Time since the request was added. */
      readonly seconds: number;
      /** Part of `seconds` before its first step; all of it, if there was none. */
      readonly queueSeconds: number;
    }
  | {
      /** The executor failed. Running requests have ended with the error; waiting ones continue if the engine recovers. */
      readonly type: 'executorFailed';
      readonly error: Error;
    }
  | {
      /** Loading the executor again failed. */
      readonly type: 'reloadFailed';
      readonly error: Error;
      /** Time before the next try; undefined if there is none. */
      readonly retrySeconds: number | undefined;
    }
  | { readonly type: 'recovered'; readonly seconds: number }
  | {
      /** The engine takes no requests any more: the executor could not be loaded again, or the engine itself failed. */
      readonly type: 'died';
      readonly error: Error;
    };

export type EngineEventListener = (event: EngineEvent) => void;

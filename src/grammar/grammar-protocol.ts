import type { SerializedError } from '../distributed/serialized-error.ts';
import type { StructuredOutputs } from './forms/structured-outputs.ts';

/** Bytes of a vocabulary's tokens, one after another. Tokens that no text has are empty. */
export interface VocabularyBytes {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** (tokens + 1): where each token begins; the last is the end. */
  readonly offsets: Int32Array<ArrayBuffer>;
}

/** Request to the worker. Numbers are the caller's names for what they make. */
export type GrammarRequest =
  /** First of all. Without a vocabulary it can only check. */
  | { readonly type: 'open'; readonly vocabulary: VocabularyBytes | undefined; readonly url: string | undefined }
  /** Finds out whether a form can be compiled, in a worker that may break doing so. */
  | { readonly type: 'check'; readonly id: number; readonly form: StructuredOutputs }
  | { readonly type: 'compile'; readonly id: number; readonly form: StructuredOutputs }
  | { readonly type: 'release'; readonly grammar: number }
  /** An answer that has some tokens already, where the worker before was lost. */
  | { readonly type: 'begin'; readonly grammar: number; readonly matcher: number; readonly tokenIds: readonly number[] }
  /** Pairs of a matcher and the token that it takes next: see `masks`. */
  | { readonly type: 'accept'; readonly pairs: Int32Array<ArrayBuffer> }
  | { readonly type: 'end'; readonly matcher: number };

/** Answer of the worker. */
export type GrammarMessage =
  | { readonly type: 'opened' }
  | { readonly type: 'broken'; readonly error: SerializedError }
  | { readonly type: 'checked'; readonly id: number }
  /** A compiled grammar, under the request's number, and the tokens that it begins with. */
  | { readonly type: 'compiled'; readonly id: number; readonly mask: Int32Array<ArrayBuffer> }
  /** @param isBroken whether the worker can't be used any more. */
  | { readonly type: 'refused'; readonly id: number; readonly error: SerializedError; readonly isBroken: boolean }
  /** The masks of the matchers of an `accept`, in their order, one after another. */
  | { readonly type: 'masks'; readonly matchers: Int32Array<ArrayBuffer>; readonly masks: Int32Array<ArrayBuffer> };

import { getOwn, isJsonObject, type JsonObject } from '../checkpoint/json/json.ts';
import type { LibraryModel } from './library-tokenizer.ts';

/** Ids of a tokenizer's own tokens, without those that were added to it. */
export interface Vocabulary {
  idOf(token: string): number | undefined;
  /** Highest id; -1 without tokens. */
  readonly greatestId: number;
  /** Ids up to the highest, or the number of tokens if that is more. */
  readonly length: number;
}

/**
 * The vocabulary of a byte-pair encoding as its file has it, which is a fraction of the work of making the library's
 * model; undefined for other kinds, and where the library would find the file wrong.
 */
export function storedVocabulary(json: JsonObject): Vocabulary | undefined {
  const model = getOwn(json, 'model');
  if (!isJsonObject(model) || getOwn(model, 'type') !== 'BPE') return undefined;
  const [vocab, merges] = [getOwn(model, 'vocab'), getOwn(model, 'merges')];
  if (!isJsonObject(vocab) || !Array.isArray(merges)) return undefined;
  // The library tells the two forms of merges apart by the first one.
  const isUsual = Array.isArray(merges[0]) || merges.every((merge) => typeof merge === 'string');
  if (!isUsual) return undefined;
  const ids = Object.values(vocab);
  const greatestId = greatest(ids);
  return {
    idOf: (token) => {
      const id = getOwn(vocab, token);
      return typeof id === 'number' ? id : undefined;
    },
    greatestId,
    length: Math.max(ids.length, greatestId + 1),
  };
}

/** The vocabulary of the library's model. */
export function libraryVocabulary({ vocab, tokens_to_ids }: LibraryModel): Vocabulary {
  return {
    idOf: (token) => tokens_to_ids.get(token),
    greatestId: greatest(tokens_to_ids.values()),
    length: vocab.length,
  };
}

/** The greatest of ids, which are too many for `Math.max`; -1 without ids. */
function greatest(ids: Iterable<unknown>): number {
  let most = -1;
  for (const id of ids) if (typeof id === 'number' && id > most) most = id;
  return most;
}

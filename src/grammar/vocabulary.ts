import { Turns } from '../distributed/event-loop.ts';
import type { TextTokenizer } from '../text/tokenizer.ts';
import { joinBytes } from '../util/join-bytes.ts';
import type { VocabularyBytes } from './grammar-protocol.ts';

/** Tokens that are read before the time is looked at. */
const TOKENS_PER_TURN = 256;

/**
 * The bytes of a model's tokens after others, and one token more, for the end of an answer: grammars know of no other end.
 * Large vocabularies take long, so the event loop gets turns.
 */
export async function vocabularyBytes(tokenizer: TextTokenizer, vocabSize: number): Promise<VocabularyBytes> {
  const turns = new Turns();
  const tokens: Uint8Array[] = [];
  const offsets = new Int32Array(vocabSize + 2);
  let length = 0;
  for (let id = 0; id <= vocabSize; id++) {
    if (id % TOKENS_PER_TURN === 0) await turns.next();
    const bytes = id === vocabSize ? END : tokenizer.tokenBytes(id);
    tokens.push(bytes);
    length += bytes.length;
    offsets[id + 1] = length;
  }
  return { bytes: joinBytes(tokens), offsets };
}

const END = new TextEncoder().encode('</s>');

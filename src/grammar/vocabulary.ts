import { Turns } from '../distributed/event-loop.ts';
import type { TextTokenizer } from '../text/tokenizer.ts';
import type { VocabularyBytes } from './grammar-protocol.ts';

/** Tokens that are read before the time is looked at. */
const TOKENS_PER_TURN = 256;

/** Bytes for the few long tokens of a small vocabulary. */
const MIN_BYTES = 4096;

/** What grammars need of a tokenizer. */
export type GrammarTokenizer = Pick<TextTokenizer, 'tokenBytes' | 'specialTokenIds'>;

/**
 * The bytes of a model's tokens after others, and one token more, for the end of an answer: grammars know of no other end.
 * Large vocabularies take long, so the event loop gets turns.
 */
export async function vocabularyBytes(tokenizer: GrammarTokenizer, vocabSize: number): Promise<VocabularyBytes> {
  const turns = new Turns();
  let all = new Uint8Array(8 * vocabSize + MIN_BYTES);
  const offsets = new Int32Array(vocabSize + 2);
  let length = 0;
  for (let id = 0; id <= vocabSize; id++) {
    if (id % TOKENS_PER_TURN === 0) await turns.next();
    const bytes = id === vocabSize ? END : tokenizer.tokenBytes(id);
    if (length + bytes.length > all.length) {
      const larger = new Uint8Array(2 * (length + bytes.length));
      larger.set(all.subarray(0, length));
      all = larger;
    }
    all.set(bytes, length);
    length += bytes.length;
    offsets[id + 1] = length;
  }
  return { bytes: all.slice(0, length), offsets };
}

const END = new TextEncoder().encode('</s>');

import type { GrammarTokenizer } from '../../src/grammar/vocabulary.ts';
import { seededRandom } from '../load/seeded-random.ts';

const SYLLABLES = 'a e i o in er st th re on an at en or ti es ou it is ar le se nt te de ic co ma'.split(' ');
const SIGNS = [...'{}[]":,.;()\n <>/=-_'];
/** The first of the characters that Chinese is written in, of which thousands follow. */
const FIRST_IDEOGRAPH = 0x4e00;

/** Tokens as in large vocabularies: every byte, and after them words, numbers, signs and ideographs at random. */
export function largeVocabulary(size: number): GrammarTokenizer {
  const random = seededRandom(1);
  const below = (limit: number) => Math.floor(random() * limit);
  const some = (from: readonly string[], most: number) =>
    Array.from({ length: 1 + below(most) }, () => from[below(from.length)]).join('');
  const texts = new Set<string>();
  while (texts.size < size - 256) {
    const kind = random();
    const word = `${random() < 0.5 ? ' ' : ''}${some(SYLLABLES, 4)}`;
    if (kind < 0.6) texts.add(word);
    else if (kind < 0.7) texts.add(word.toUpperCase());
    else if (kind < 0.75) texts.add(some([...'0123456789'], 3));
    else if (kind < 0.9) texts.add(some(SIGNS, 3));
    else texts.add(String.fromCodePoint(...Array.from({ length: 1 + below(2) }, () => FIRST_IDEOGRAPH + below(5000))));
  }
  const encoder = new TextEncoder();
  const tokens = [
    ...Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)),
    ...Array.from(texts, (text) => encoder.encode(text)),
  ];
  return { specialTokenIds: new Set(), tokenBytes: (id) => tokens[id] ?? new Uint8Array() };
}

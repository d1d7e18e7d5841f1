import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { IncrementalDetokenizer } from '../../src/text/incremental-detokenizer.ts';
import type { TextTokenizer } from '../../src/text/tokenizer.ts';
import { runs } from '../runs.ts';
import { bundledTokenizer, byteFallback, metaspace, suffix, wordPiece } from './tokenizers.ts';

const bundled = await bundledTokenizer();

function stream(tokenizer: TextTokenizer, ids: readonly number[], skipSpecialTokens = true): string[] {
  const detokenizer = new IncrementalDetokenizer(tokenizer, { skipSpecialTokens });
  return [...ids.map((id) => detokenizer.push(id)), detokenizer.flush()];
}

/** Ids of tokens that are single bytes, which random ids would rarely put together. */
const byteIds = Array.from({ length: 188 }, (_, i) => i + 1);

describe('IncrementalDetokenizer', () => {
  test.each([
    ['byte-level BPE', bundled, fc.nat(4200)],
    ['byte-level BPE, single bytes', bundled, fc.constantFrom(...byteIds)],
    [
      'byte-level BPE, characters cut anywhere',
      bundled,
      fc.constantFrom(...bundled.encode('é日😀👩‍👩‍👧\uFFFD\uFEFFa ')),
    ],
    ['sentencepiece with bytes', byteFallback, fc.nat(byteFallback.vocabSize)],
    [
      'sentencepiece with bytes, characters cut anywhere',
      byteFallback,
      fc.constantFrom(...byteFallback.encode('ñ語🚀\uFEFF a')),
    ],
    ['sentencepiece, mostly spaces', byteFallback, fc.constantFrom(0, 3, 4, 5, 15)],
    ['Metaspace', metaspace, fc.nat(metaspace.vocabSize)],
    ['WordPiece', wordPiece, fc.nat(wordPiece.vocabSize)],
    ['words with a suffix', suffix, fc.nat(suffix.vocabSize)],
  ])('adds up to the text of all ids: %s', (_, tokenizer, id) => {
    fc.assert(
      fc.property(fc.array(id, { maxLength: 60, size: 'max' }), fc.boolean(), (ids, skipSpecialTokens) => {
        const pieces = stream(tokenizer, ids, skipSpecialTokens);
        expect(pieces.join('')).toBe(tokenizer.decode(ids, { skipSpecialTokens }));
      }),
      { seed: 1, numRuns: runs(1000) },
    );
  });

  test('gives text as soon as it is certain', () => {
    const ids = bundled.encode('const x');
    expect(stream(bundled, ids)).toEqual([...ids.map((id) => bundled.decode([id])), '']);
  });

  test('holds incomplete characters back', () => {
    const ids = bundled.encode('😀');
    expect(ids.length).toBeGreaterThan(1);
    const pieces = stream(bundled, ids);
    expect(pieces.slice(0, -2).join('')).toBe('');
    expect(pieces.at(-2)).toBe('😀');
    expect(stream(bundled, ids.slice(0, -1)).at(-1)).toBe('\uFFFD');
  });

  test('flushes once', () => {
    const detokenizer = new IncrementalDetokenizer(bundled);
    expect(detokenizer.push(bundled.encode('😀', { addSpecialTokens: false })[0])).toBe('');
    expect(detokenizer.flush()).toBe('\uFFFD');
    expect(detokenizer.flush()).toBe('');
  });

  test('continues a prompt', () => {
    const [hello, world] = [5, 6];
    expect(byteFallback.decode([hello, world])).toBe('Hello world');
    const push = (prompt: number[], ids: number[]) => {
      const detokenizer = new IncrementalDetokenizer(byteFallback, { prompt });
      return ids.map((id) => detokenizer.push(id));
    };
    expect(push([], [world])).toEqual(['world']);
    expect(push([hello], [world])).toEqual([' world']);
    expect(push([0], [world])).toEqual(['world']);
    const bytes = byteFallback.encode('語').slice(-3);
    expect(push([hello, bytes[0]], bytes.slice(1))).toEqual(['', '語']);
  });

  test('looks at each token once, however long the text is', () => {
    let placed = 0;
    const detokenizer = new IncrementalDetokenizer({
      isVisible: (id) => bundled.isVisible(id),
      textBegin: () => bundled.textBegin(),
      placeToken: (id, place) => {
        placed++;
        return bundled.placeToken(id, place);
      },
    });
    // A byte that only continues characters, so nothing of this is ever complete.
    const [continuation] = bundled.encode('😀').slice(-1);
    let text = '';
    for (let i = 0; i < 500; i++) text += detokenizer.push(continuation);
    expect(text).toBe('\uFFFD'.repeat(500));
    expect(placed).toBe(500);
  });

  test('says what another token would have given', () => {
    const detokenizer = new IncrementalDetokenizer(byteFallback);
    expect(detokenizer.peek(6)).toEqual({ text: 'world', bytes: new TextEncoder().encode('world') });
    detokenizer.push(5);
    expect(detokenizer.peek(6).text).toBe(' world');
    const [first, second] = byteFallback.encode('ñ').slice(-2);
    expect(detokenizer.peek(first)).toEqual({ text: '', bytes: Uint8Array.of(0xc3) });
    detokenizer.push(first);
    expect(detokenizer.isInsideCharacter).toBe(true);
    expect(detokenizer.peek(second)).toEqual({ text: 'ñ', bytes: Uint8Array.of(0xb1) });
    expect(detokenizer.peek(first).text).toBe('\uFFFD');
    expect(detokenizer.push(second)).toBe('ñ');
  });
});

import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { JsonObject } from '../../src/checkpoint/json/json.ts';
import { IncrementalDetokenizer } from '../../src/text/incremental-detokenizer.ts';
import { isShownIn, TokenTexts } from '../../src/text/token-texts.ts';
import { TextTokenizer } from '../../src/text/tokenizer.ts';
import { runs } from '../runs.ts';
import { bundledTokenizer, byteFallback, metaspace, suffix, wordPiece } from './tokenizers.ts';

const url = new URL('tokenizers-expected.json', import.meta.url);
const { kinds }: { kinds: readonly { name: string; json: JsonObject }[] } = JSON.parse(await readFile(url, 'utf8'));
const tokenizers: [string, TextTokenizer][] = [
  ['the bundled one', await bundledTokenizer()],
  ['sentencepiece with bytes', byteFallback],
  ['Metaspace', metaspace],
  ['WordPiece', wordPiece],
  ['words with a suffix', suffix],
  ...kinds.map(({ name, json }): [string, TextTokenizer] => [name, new TextTokenizer(json)]),
];

const unit = fc.oneof(
  fc.constantFrom('a', 'b', ' ', '  ', '\n', '\uFEFF', '\u0085', '\u00A0', '\u200B', '.', 'é', '日本', '😀', 'hello'),
  fc.string({ unit: 'grapheme', maxLength: 3 }),
);
const anyText = fc.array(unit, { maxLength: 12 }).map((units) => units.join(''));

function written(tokenizer: TextTokenizer, ids: readonly number[], skipSpecialTokens = true) {
  const texts = new TokenTexts(tokenizer, { skipSpecialTokens });
  return ids.map((id, i) => texts.next({ id, isLast: i === ids.length - 1 }));
}

describe.each(tokenizers)('%s', (_, tokenizer) => {
  test('writes tokens that together are the text, each where it begins', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const ids = tokenizer.encode(text, { addSpecialTokens: false });
        const whole = tokenizer.decode(ids, { skipSpecialTokens: false });
        const tokens = written(tokenizer, ids, false);
        expect(tokens.map(({ token }) => token).join('')).toBe(whole);
        for (const { token, offset } of tokens) expect(whole.startsWith(token, offset)).toBe(true);
      }),
      { seed: 2, numRuns: runs(300) },
    );
  });

  test('does so for any ids, and gives the bytes that they are made of', () => {
    const id = fc.nat(tokenizer.vocabSize + 3);
    fc.assert(
      fc.property(fc.array(id, { maxLength: 30 }), fc.boolean(), (ids, skipSpecialTokens) => {
        const text = tokenizer.decode(ids, { skipSpecialTokens });
        const shown = ids.filter((each) => tokenizer.isVisible(each, skipSpecialTokens));
        const tokens = written(tokenizer, shown, skipSpecialTokens);
        expect(tokens.map(({ token }) => token).join('')).toBe(text);
        const bytes = Uint8Array.from(tokens.flatMap((token) => token.bytes));
        // The end of a word is a space only where another one follows.
        if (tokenizer !== suffix) expect(new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes)).toBe(text);
        const stream = new IncrementalDetokenizer(tokenizer, { skipSpecialTokens });
        expect(ids.map((each) => stream.push(each)).join('') + stream.flush()).toBe(text);
      }),
      { seed: 3, numRuns: runs(300) },
    );
  });

  test('never writes two tokens of one place alike', () => {
    const id = fc.nat(tokenizer.vocabSize + 3);
    fc.assert(
      fc.property(
        fc.array(id, { maxLength: 5 }),
        fc.uniqueArray(id, { minLength: 2, maxLength: 21 }),
        (before, all) => {
          const texts = new TokenTexts(tokenizer, { prompt: before });
          const { token, others } = texts.next({ id: all[0], others: all });
          expect(new Set(others.map((other) => other.token)).size).toBe(all.length);
          expect(others[0].token).toBe(token);
        },
      ),
      { seed: 4, numRuns: runs(300) },
    );
  });
});

describe('TokenTexts', () => {
  const [hello, world, end] = [5, 6, 1];

  test('keeps the spaces that a decoder strips from a beginning only', () => {
    expect(written(byteFallback, [hello, world]).map(({ token }) => token)).toEqual(['Hello', ' world']);
    const next = new TokenTexts(byteFallback, { prompt: [hello] }).next({ id: world, others: [hello] });
    expect(next.token).toBe(' world');
    expect(next.bytes).toEqual([...new TextEncoder().encode(' world')]);
    expect(next.others[0].token).toBe(' Hello');
  });

  test('writes parts of a character as their bytes, and the character with the last', () => {
    const ids = byteFallback.encode('語').slice(-3);
    const texts = new TokenTexts(byteFallback, { prompt: [hello] });
    const places = ids.map((id) => texts.next({ id, others: [ids[0], ids[1]] }));
    expect(places.map(({ token }) => token)).toEqual(['', '', '語']);
    expect(places.map(({ bytes }) => bytes)).toEqual([[0xe8], [0xaa], [0x9e]]);
    expect(places[0].others.map(({ token }) => token)).toEqual(['', '\uFFFD']);
    expect(places.map(({ offset }) => offset)).toEqual([0, 0, 0]);
    const cut = new TokenTexts(byteFallback, { prompt: [hello] });
    expect(cut.next({ id: ids[0], others: [ids[1], ids[2]], isLast: true }).token).toBe('\uFFFD');
  });

  test('names tokens alike by their bytes, and then by their id', () => {
    const letter = byteFallback.encode('a').at(-1) ?? -1;
    const byte = [...Array(byteFallback.vocabSize).keys()].find(
      (id) => id !== letter && byteFallback.tokenText(id) === 'a',
    );
    const texts = new TokenTexts(byteFallback, { prompt: [hello] });
    const { token, others } = texts.next({ id: letter, others: [letter, byte ?? -1, 9999] });
    expect([token, ...others.map((other) => other.token)]).toEqual(['a', 'a', 'bytes:\\x61', 'token_id:9999']);
    expect(others.map(({ bytes }) => bytes)).toEqual([[97], [97], []]);
  });

  test('writes a hidden token as what it stands for, without a place', () => {
    const tokens = written(byteFallback, [0, hello, end]);
    expect(tokens.map(({ token, offset }) => [token, offset])).toEqual([
      ['<s>', 0],
      ['Hello', 0],
      ['</s>', 5],
    ]);
  });

  test('writes what was left of a character before a hidden token that comes last', () => {
    const ids = byteFallback.encode('語').slice(-3);
    const tokens = written(byteFallback, [hello, ids[0], end, 9999, end]);
    expect(tokens.map(({ token, offset }) => [token, offset])).toEqual([
      ['Hello', 0],
      ['', 5],
      ['</s>', 5],
      ['', 5],
      ['\uFFFD</s>', 5],
    ]);
  });

  test('knows which special tokens a text has', () => {
    expect(isShownIn('<s>ab', 0, 0, byteFallback)).toBe(true);
    expect(isShownIn('ab', 0, 0, byteFallback)).toBe(false);
    expect(isShownIn('ab', 0, hello, byteFallback)).toBe(true);
  });

  test('has ids to show where there is no tokenizer', () => {
    expect(new TokenTexts(undefined).next({ id: 7, others: [8] })).toEqual({
      token: 'token_id:7',
      bytes: [],
      offset: 0,
      others: [{ token: 'token_id:8', bytes: [] }],
    });
  });
});

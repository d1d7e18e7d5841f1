import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { NgramIndex } from '../../../src/engine/speculate/ngram-index.ts';
import { runs } from '../../runs.ts';

/** The continuation by the definition: of all places, the one that agrees the furthest, of equals the latest. */
function expectedContinuation(tokenIds: readonly number[], min: number, max: number, count: number): number[] {
  let [best, longest] = [0, min - 1];
  for (let place = 1; place < tokenIds.length; place++) {
    let agreed = 0;
    while (agreed < max && agreed < place && tokenIds[place - 1 - agreed] === tokenIds.at(-1 - agreed)) agreed++;
    if (agreed >= longest && agreed >= min) [best, longest] = [place, agreed];
  }
  if (best === 0) return [];
  const text = [...tokenIds];
  for (let i = 0; i < count; i++) text.push(text[best + i]);
  return text.slice(tokenIds.length);
}

describe('NgramIndex', () => {
  test('finds what followed the last tokens before', () => {
    const index = new NgramIndex({ min: 2, max: 4 });
    expect(index.continuation([1, 2, 3, 4, 5, 1, 2], 3)).toEqual([3, 4, 5]);
    expect(index.continuation([1, 2, 3, 4, 5, 1, 2, 9], 3)).toEqual([]);
    expect(index.continuation([1, 2, 3, 4, 5, 1, 2, 9, 4, 5, 1, 2], 2)).toEqual([9, 4]);
  });

  test('repeats a text that repeats itself', () => {
    expect(new NgramIndex({ min: 2, max: 2 }).continuation([7, 8, 7, 8], 5)).toEqual([7, 8, 7, 8, 7]);
    expect(new NgramIndex({ min: 1, max: 3 }).continuation([4, 4], 3)).toEqual([4, 4, 4]);
  });

  test('is what the definition says while the text grows', () => {
    const property = fc.property(
      fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 40 }),
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 0, max: 3 }),
      fc.array(fc.boolean(), { minLength: 40, maxLength: 40 }),
      (tokenIds, min, more, asked) => {
        const index = new NgramIndex({ min, max: min + more });
        for (let length = 0; length <= tokenIds.length; length++) {
          if (!asked[length]) continue;
          const text = tokenIds.slice(0, length);
          expect(index.continuation(text, 4)).toEqual(expectedContinuation(text, min, min + more, 4));
        }
      },
    );
    fc.assert(property, { seed: 5, numRuns: runs(200) });
  });
});

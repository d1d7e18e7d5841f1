import fc from 'fast-check';
import { expect, test } from 'vitest';
import { bitsOf, hasBit, keepAllowed } from '../../src/grammar/token-bits.ts';
import { runs } from '../runs.ts';

test('logits of tokens without a bit are forbidden, whether few or nearly all have one', () => {
  const property = fc.property(
    fc.integer({ min: 1, max: 200 }),
    fc.double({ min: 0, max: 1, noNaN: true }),
    fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 240, maxLength: 240 }),
    fc.nat(2),
    (vocabSize, share, draws, moreWords) => {
      // Masks have bits beyond the vocabulary, and may have fewer words.
      const words = Math.max(1, Math.ceil(vocabSize / 32) + moreWords - 1);
      const bits = bitsOf(
        [...draws.keys()].filter((id) => draws[id] < share),
        words,
      );
      const logits = Float32Array.from({ length: vocabSize }, (_, id) => draws[id] - 0.5);
      const scores = new Float32Array(vocabSize).fill(7);
      keepAllowed(scores, logits, bits);
      const isAllowed = (id: number) => id < words * 32 && hasBit(bits, id);
      expect([...scores]).toEqual([...logits].map((logit, id) => (isAllowed(id) ? logit : Number.NEGATIVE_INFINITY)));
    },
  );
  fc.assert(property, { numRuns: runs(1000) });
});

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteRanges } from '../../../src/checkpoint/stored/byte-ranges.ts';

const SIZE = 40;
const range = fc.tuple(fc.nat(SIZE), fc.nat(SIZE)).map(([a, b]) => ({ begin: Math.min(a, b), end: Math.max(a, b) }));

test('ranges are a set of bytes', () => {
  fc.assert(
    fc.property(fc.array(range, { maxLength: 12 }), range, (added, asked) => {
      const ranges = new ByteRanges(added);
      const bytes = new Set(added.flatMap(({ begin, end }) => span(begin, end)));
      expect([...ranges].flatMap(({ begin, end }) => span(begin, end))).toEqual([...bytes].sort((a, b) => a - b));
      expect(ranges.count).toBe(bytes.size);
      const missing = span(asked.begin, asked.end).filter((byte) => !bytes.has(byte));
      expect(ranges.covers(asked)).toBe(missing.length === 0);
      const gap = ranges.firstGap(asked);
      const first = missing.filter((byte, i) => byte === missing[0] + i);
      expect(gap ? span(gap.begin, gap.end) : []).toEqual(first);
    }),
  );
});

test('they are as few as can say it', () => {
  const ranges = new ByteRanges([
    { begin: 5, end: 7 },
    { begin: 0, end: 2 },
    { begin: 2, end: 5 },
    { begin: 9, end: 9 },
    { begin: 8, end: 10 },
  ]);
  expect([...ranges]).toEqual([
    { begin: 0, end: 7 },
    { begin: 8, end: 10 },
  ]);
});

function span(begin: number, end: number): number[] {
  return Array.from({ length: end - begin }, (_, i) => begin + i);
}

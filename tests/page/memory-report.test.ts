import { expect, test } from 'vitest';
import {
  averageReport,
  layerSummaries,
  longestHead,
  memoryReport,
  summary,
} from '../../src/page/memory/memory-report.ts';
import { scaleColor, scalePosition, tokensInWords } from '../../src/page/memory/scale.ts';

test('nothing lost is Infinity, and a layer with fewer heads leaves room', () => {
  const report = memoryReport([[1, 2, null], [4]]);
  expect(report).toMatchObject({ layers: 2, heads: 3 });
  expect([...report.values]).toEqual([1, 2, Number.POSITIVE_INFINITY, 4, Number.NaN, Number.NaN]);
  expect(longestHead(report)).toEqual({ layer: 0, head: 2 });
  expect(layerSummaries(report)).toEqual([
    { shortest: 1, median: 2, longest: Number.POSITIVE_INFINITY },
    { shortest: 4, median: 4, longest: 4 },
  ]);
});

test('averages are those of rates: two tokens that halve twice and not at all halve once each', () => {
  const average = averageReport([memoryReport([[0.5, 10]]), memoryReport([[null, 10]])]);
  expect(average?.values[0]).toBeCloseTo(1, 6);
  expect(average?.values[1]).toBeCloseTo(10, 6);
  expect(averageReport([])).toBeUndefined();
});

test('reports of another model do not mix', () => {
  const report = memoryReport([[3, 4]]);
  expect(averageReport([memoryReport([[1]]), report])?.values).toEqual(report.values);
  expect(summary(report.values)).toEqual({ shortest: 3, median: 4, longest: 4 });
});

test('the scale is logarithmic, from 1 to 10 000 tokens', () => {
  expect([0.01, 1, 10, 100, 10_000, 1e9, Number.POSITIVE_INFINITY].map(scalePosition)).toEqual([
    0, 0, 0.25, 0.5, 1, 1, 1,
  ]);
  expect(scaleColor(0)).toBe('rgb(68 1 84)');
  expect(scaleColor(1)).toBe('rgb(253 231 37)');
  expect(scaleColor(-1)).toBe(scaleColor(0));
});

test('numbers of tokens in words', () => {
  expect([0.5432, 1, 11.94, 4321, Number.POSITIVE_INFINITY].map(tokensInWords)).toEqual([
    '0.54 tokens',
    '1 token',
    '11.9 tokens',
    '4,320 tokens',
    'infinitely many tokens',
  ]);
});

import { expect, test } from 'vitest';
import { memoryReport } from '../../src/page/memory/memory-report.ts';
import { MomentHistory } from '../../src/page/moment.ts';

const moment = (heads: number) => ({ report: memoryReport([new Array<number>(heads).fill(1)]), text: '', tokens: [] });

test('a history drops the oldest when it holds too many numbers, but never the latest', () => {
  const history = new MomentHistory(10);
  const [a, b, c, big] = [moment(4), moment(4), moment(4), moment(30)];
  expect(history.add(a)).toEqual([]);
  expect(history.add(b)).toEqual([]);
  expect(history.add(c)).toEqual([a]);
  expect(history.moments).toEqual([b, c]);
  expect(history.add(big)).toEqual([b, c]);
  expect(history.moments).toEqual([big]);
  history.clear();
  expect(history.moments).toEqual([]);
  expect(history.add(a)).toEqual([]);
});

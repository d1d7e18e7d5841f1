import { expect, test } from 'vitest';
import { LogprobColumns, logprobBytes, PromptLogprobs } from '../../../src/engine/request/logprob-columns.ts';

const token = (i: number, tops: number) => ({
  tokenId: i,
  logprob: -i / 3,
  topLogprobs: Array.from({ length: tops }, (_, n) => ({ tokenId: i + n, logprob: -n / 7 })),
});

test.each([0, 1, 20])('give back what was put in, with %i of the likeliest', (tops) => {
  for (const count of [0, 1, 15, 16, 17, 48, 5000]) {
    const columns = new LogprobColumns(tops);
    const tokens = Array.from({ length: count }, (_, i) => token(i, tops));
    for (const each of tokens) columns.push(each);
    expect(columns.length).toBe(count);
    expect([...columns]).toEqual(tokens);
    // Twice: nothing is used up.
    expect([...columns]).toEqual(tokens);
  }
});

test('of a small vocabulary there are fewer likeliest than asked for', () => {
  const columns = new LogprobColumns(20);
  columns.push(token(1, 3));
  columns.push({ tokenId: 2, logprob: -1 });
  expect([...columns]).toEqual([token(1, 3), { tokenId: 2, logprob: -1, topLogprobs: [] }]);
});

test('of a prompt begin with null', () => {
  const columns = new LogprobColumns(1);
  columns.push(token(5, 1));
  const logprobs = new PromptLogprobs(columns, [3]);
  expect(logprobs.length).toBe(2);
  expect([...logprobs]).toEqual([null, { ...token(5, 1), rank: 3 }]);
});

test('have a size', () => {
  expect(logprobBytes(20)).toBe(21 * 12);
});

import { expect, test } from 'vitest';
import { GuessCosts } from '../../../src/engine/speculate/guess-costs.ts';
import { Speculation } from '../../../src/engine/speculate/speculation.ts';

const RIGHT = 1;
const WRONG = 2;

/** Steps of an answer whose guesses are all right or all wrong from place to place. */
function run(speculation: Speculation, count: number, isRight: (position: number) => boolean) {
  const costs = new GuessCosts();
  const text: number[] = [];
  let [steps, lost] = [0, 0];
  for (; text.length < count; steps++) {
    const drafts = speculation.draft(text, count - text.length);
    let accepted = 0;
    const push = () => {
      text.push(isRight(text.length) ? RIGHT : WRONG);
      speculation.observe(text);
    };
    while (accepted < drafts.length && isRight(text.length)) {
      push();
      accepted++;
    }
    push();
    if (drafts.length === 0) continue;
    speculation.record(drafts.length, accepted);
    lost += costs.costOf(drafts.length) - accepted;
  }
  return { steps, lost };
}

const speculationOf = (most: number, isFree = true) =>
  new Speculation({ isFree, draft: (_, count) => new Array<number>(count).fill(RIGHT) }, most, new GuessCosts());

test('guesses more and more of what can be guessed', () => {
  expect(run(speculationOf(16), 170, () => true).steps).toBeLessThan(20);
});

test('checks no guess where all are wrong, if trying costs nothing', () => {
  expect(run(speculationOf(16), 500, () => false)).toEqual({ steps: 500, lost: 0 });
});

test('loses little where they are wrong or seldom right, also where trying costs time', () => {
  for (const isFree of [true, false]) {
    for (const period of [1, 2, 5, 9, 23]) {
      const { lost } = run(speculationOf(8, isFree), 1000, (position) => period > 1 && position % period > 0);
      expect(lost).toBeLessThan(period > 4 ? 30 : 20);
    }
  }
});

test('finds its way back', () => {
  const speculation = speculationOf(8);
  run(speculation, 300, () => false);
  expect(run(speculation, 300, () => true).steps).toBeLessThan(60);
});

test('guesses no more than is asked for', () => {
  const speculation = speculationOf(2);
  run(speculation, 30, () => true);
  expect(speculation.draft([], 9)).toHaveLength(2);
});

test('costs are what steps with guesses take longer', () => {
  const costs = new GuessCosts();
  const plain = { isPrefill: false, numTokens: 1, drafts: [] };
  const guessed = { ...plain, drafts: [1, 2, 3, 4, 5] };
  const prompt = { isPrefill: true, numTokens: 500, drafts: [] };
  expect(costs.costOf(5)).toBeCloseTo(1.5);
  for (let i = 0; i < 5; i++) costs.step([prompt, plain], 9);
  for (let i = 0; i < 9; i++) costs.step([plain, plain], i === 4 ? 7 : 0.01);
  // Two sequences lose half a step: one token.
  for (let i = 0; i < 9; i++) costs.step([plain, guessed], 0.015);
  expect(costs.costOf(5)).toBeCloseTo(1);
});

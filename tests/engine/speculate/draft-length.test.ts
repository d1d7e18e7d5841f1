import { expect, test } from 'vitest';
import { TrialLengths } from '../../../src/engine/speculate/draft-length.ts';
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

const draft = (_: unknown, count: number) => new Array<number>(count).fill(RIGHT);

/** Costs where steps without guesses were measured, and those with some if their seconds are given. */
function measured(seconds?: number): GuessCosts {
  const costs = new GuessCosts();
  for (let i = 0; i < 9; i++) costs.step([PLAIN], { seconds: 0.01, drafting: 0 });
  for (let i = 0; i < 9 && seconds !== undefined; i++) costs.step([GUESSED], { seconds, drafting: 0 });
  return costs;
}

const PLAIN = { isPrefill: false, numTokens: 1, drafts: [] };
const GUESSED = { ...PLAIN, drafts: [1, 2, 3, 4, 5] };

const speculationOf = (most: number, isFree = true, costs = measured(), trials = new TrialLengths()) =>
  new Speculation({ isFree, draft }, most, costs, trials);

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
  const prompt = { isPrefill: true, numTokens: 500, drafts: [] };
  expect(costs.costOf(5)).toBeCloseTo(1.5);
  for (let i = 0; i < 5; i++) costs.step([prompt, PLAIN], { seconds: 9, drafting: 0 });
  // What went into guesses that none of them had is no part of them.
  for (let i = 0; i < 9; i++) costs.step([PLAIN, PLAIN], { seconds: i === 4 ? 7 : 0.03, drafting: 0.02 });
  // Two sequences lose half a step: one token.
  for (let i = 0; i < 9; i++) costs.step([PLAIN, GUESSED], { seconds: 0.015, drafting: 0.004 });
  expect(costs.costOf(5)).toBeCloseTo(1);
});

test('what could not pay is not checked, however right it is, until that was long ago', () => {
  for (const isFree of [true, false]) {
    // 5.25 tokens are lost for 5.
    const costs = measured(0.0625);
    const speculation = speculationOf(5, isFree, costs);
    expect(run(speculation, 300, () => true).steps).toBe(300);
    expect(speculation.wanted).toBe(0);
    for (let i = 0; i < 1024; i++) costs.step([PLAIN], { seconds: 0.01, drafting: 0 });
    expect(run(speculation, 100, () => true).steps).toBeLessThan(100);
  }
});

test('a check that costs more than it saves now and then comes back less and less', () => {
  // A guess of 5 must save 3.75.
  const costs = measured(0.0475);
  const { lost } = run(speculationOf(5, true, costs), 3000, (position) => position % 24 < 16);
  expect(lost).toBeLessThan(60);
});

test('a guess that was cut short changes nothing if it was right', () => {
  const speculation = speculationOf(16, false);
  expect(speculation.wanted).toBe(5);
  for (let i = 0; i < 20; i++) {
    expect(speculation.draft([], 2)).toHaveLength(2);
    speculation.record(2, 2);
    expect(speculation.wanted).toBe(5);
  }
  speculation.record(5, 5);
  expect(speculation.wanted).toBe(10);
});

test('tokens that nothing was guessed for are between those that were right in a row', () => {
  const knows = ({ length }: readonly number[]) => length % 3 > 0;
  const drafter = {
    isFree: true,
    draft: (ids: readonly number[], count: number) => (knows(ids) ? draft(ids, count) : []),
  };
  const speculation = new Speculation(drafter, 8, measured());
  expect(run(speculation, 200, () => true).steps).toBe(200);
  expect(speculation.wanted).toBe(0);
});

test('steps are begun ahead again where there is nothing to guess for long', () => {
  for (const isFree of [true, false]) {
    const drafter = {
      isFree,
      draft: (ids: readonly number[], count: number) => (ids.length < 20 ? draft(ids, count) : []),
    };
    const speculation = new Speculation(drafter, 8, measured());
    run(speculation, 19, () => true);
    expect(speculation.wanted).toBeGreaterThan(0);
    const ids = new Array<number>(20).fill(RIGHT);
    let wanting = 0;
    for (let i = 0; i < 240; i++) {
      if (speculation.wanted > 0) wanting++;
      speculation.draft(ids, 8);
      ids.push(RIGHT);
      speculation.observe(ids);
    }
    expect(wanting).toBeLessThanOrEqual(isFree ? 8 : 90);
  }
});

test('answers learn from those before them how long to try', () => {
  const trials = new TrialLengths();
  const costs = measured();
  const seldom = (position: number) => position % 9 < 4;
  const first = run(speculationOf(8, true, costs, trials), 60, seldom).lost;
  expect(first).toBeGreaterThan(0);
  for (let i = 0; i < 5; i++) run(speculationOf(8, true, costs, trials), 60, seldom);
  expect(run(speculationOf(8, true, costs, trials), 60, seldom).lost).toBe(0);
  // And those that can be guessed are, still.
  expect(run(speculationOf(8, true, costs, trials), 200, () => true).steps).toBeLessThan(60);
});

test('a clock that is too coarse for steps tells nothing', () => {
  const costs = new GuessCosts();
  for (let i = 0; i < 9; i++) costs.step([PLAIN], { seconds: 0, drafting: 0 });
  for (let i = 0; i < 9; i++) costs.step([GUESSED], { seconds: i % 2, drafting: 0 });
  expect(costs.costOf(5)).toBeCloseTo(1.5);
  expect(costs.canPay(1)).toBe(true);
});

test('guesses that cost time wait for steps to compare with, and end where there are none any more', () => {
  const costs = new GuessCosts();
  const drafter = { isFree: false, hasFailed: false, draft };
  const speculation = new Speculation(drafter, 8, costs);
  for (const size of [1, 3]) {
    for (let i = 0; i < 3; i++) {
      costs.step(new Array(size).fill(PLAIN), { seconds: 0.01, drafting: 0 });
      expect(speculation.wanted > 0).toBe(i === 2);
    }
  }
  drafter.hasFailed = true;
  expect(speculation.wanted).toBe(0);
});

import { beforeEach, describe, expect, test } from 'vitest';
import { LAST_SAMPLED } from '../../../src/backends/contract/sampling.ts';
import type { EngineContext } from '../../../src/engine/load/engine-options.ts';
import { Request } from '../../../src/engine/request/request.ts';
import type { ScheduledTokens, StateFootprint } from '../../../src/engine/run/executor.ts';
import type { GenerateOptions } from '../../../src/engine/sample/sampling-params.ts';
import { Scheduler } from '../../../src/engine/schedule/scheduler.ts';
import { StateManager } from '../../../src/engine/schedule/state-manager.ts';
import { type Drafter, Speculations } from '../../../src/engine/speculate/speculation.ts';
import { greedy, prompt, Rig, stopClock } from '../engine-rig.ts';
import { FAKE_VOCAB, type FakeBlocks, fakeAnswer } from '../fake-executor.ts';

// What guesses cost on the fake model says nothing of others.
beforeEach(stopClock);

/** An engine with steps of 16 tokens, of which guesses take what they get: they are always right. */
function guessingRig(context: Partial<EngineContext> = {}, blocks?: FakeBlocks): Rig {
  const draft = (tokenIds: readonly number[], count: number) => fakeAnswer(tokenIds, count, blocks !== undefined);
  return new Rig(
    {
      speculativeConfig: { method: 'ngram', numSpeculativeTokens: 40 },
      draftSource: { open: () => ({ isFree: false, draft }), prepare: async () => {}, dispose: async () => {} },
      enablePrefixCaching: false,
      maxNumSeqs: 6,
      ...context,
    },
    blocks,
  );
}

/** Steps until a request has a token. */
async function stepsToToken(rig: Rig, id: string): Promise<number> {
  for (let steps = 1; ; steps++) {
    await rig.step();
    if (rig.tokens.has(id)) return steps;
  }
}

const endless = { maxTokens: 400, ignoreEos: true };

describe('guesses leave room', () => {
  test.each([
    { answers: 1, length: 9, most: 2 },
    { answers: 4, length: 9, most: 2 },
    // No more than half of what the decodes leave is guessed.
    { answers: 1, length: 16, most: 3 },
    { answers: 5, length: 25, most: 5 },
  ])('for a prompt of $length tokens that comes during $answers answers', async ({ answers, length, most }) => {
    for (const blocks of [undefined, { numBlocks: 700, blockSize: 4 }]) {
      const rig = guessingRig({}, blocks);
      for (let i = 0; i < answers; i++) rig.add(`${i}`, prompt(4, i), endless);
      for (let i = 0; i < 12; i++) await rig.step();
      rig.add('late', prompt(length, 9), { maxTokens: 3, ignoreEos: true });
      expect(await stepsToToken(rig, 'late')).toBeLessThanOrEqual(most);
    }
  });

  test('for every other answer, in each step', async () => {
    const rig = guessingRig();
    for (let i = 0; i < 6; i++) rig.add(`${i}`, prompt(2, i), { maxTokens: 150, ignoreEos: true });
    for (let i = 0; i < 3; i++) await rig.step();
    const lengths = () => new Map([...rig.tokens].map(([id, [answer]]) => [id, answer.length]));
    for (let i = 0; i < 40; i++) {
      const before = lengths();
      await rig.step();
      const after = lengths();
      for (const [id, length] of before) {
        if (!rig.ended.has(id)) expect(after.get(id)).toBeGreaterThan(length);
      }
    }
    await rig.finish();
    for (let i = 0; i < 6; i++) expect(rig.tokens.get(`${i}`)).toEqual([fakeAnswer(prompt(2, i), 150)]);
    expect(rig.engine.stats().steps).toBeLessThan(120);
  });

  test('for those of other answers, which take turns', async () => {
    for (const blocks of [undefined, { numBlocks: 700, blockSize: 4 }]) {
      const rig = guessingRig({}, blocks);
      for (let i = 0; i < 6; i++) rig.add(`${i}`, prompt(2, i), endless);
      for (let i = 0; i < 5; i++) await rig.step();
      const lengths = () => [...rig.tokens.values()].map(([{ length }]) => length);
      const begin = lengths();
      // A guess takes all of the room, so each answer has the same number of them after six steps.
      for (let i = 0; i < 12; i++) await rig.step();
      const gained = lengths().map((length, i) => length - begin[i]);
      expect(Math.max(...gained)).toBeGreaterThan(24);
      expect(Math.max(...gained) - Math.min(...gained)).toBeLessThan(12);
    }
  });

  test('and take all where nothing else is to be done', async () => {
    const rig = guessingRig();
    rig.add('a', prompt(4), endless);
    await rig.finish();
    expect(Math.max(...rig.executor.batches.flatMap(({ sequences }) => sequences.map(numTokens)))).toBe(16);
  });

  test('for the logits of others: no step has more than four million for them', () => {
    const scheduler = twoAnswers({ vocabSize: 2 ** 20, kvCache: undefined });
    const drafts = scheduler.schedule().map((work) => work.drafts.length);
    expect(drafts).toHaveLength(2);
    expect(drafts[0] + drafts[1]).toBe(4);
  });

  test('for the next tokens of others where a source that reads states needs blocks', () => {
    const requests = (numBlocks: number) => {
      const kvCache = { numBlocks, blockSize: 2, blockBytes: 1, tokenLength: 1 };
      const scheduler = twoAnswers({ vocabSize: 9, kvCache });
      const { length } = scheduler.draftRequests(true);
      expect(scheduler.schedule()).toHaveLength(2);
      return length;
    };
    expect(requests(100)).toBe(2);
    // Each answer needs two blocks, and four for a guess.
    expect(requests(6)).toBe(1);
    expect(requests(5)).toBe(0);
  });
});

test('a GPU that samples begins steps ahead again where there is nothing to guess any more', async () => {
  // A drafter of code that is followed by something new.
  const draft = (tokenIds: readonly number[], count: number) =>
    tokenIds.length < 30 ? fakeAnswer(tokenIds, count).slice(0, 30 - tokenIds.length) : [];
  const rig = samplingRig({ isFree: true, draft }, 8);
  rig.add('a', prompt(4), { maxTokens: 130, ignoreEos: true });
  await rig.finish();
  expect(rig.tokens.get('a')).toEqual([fakeAnswer(prompt(4), 130)]);
  const ahead = rig.executor.batches.filter(({ sequences }) => sequences[0]?.tokenIds[0] === LAST_SAMPLED);
  expect(ahead.length).toBeGreaterThan(80);
  expect(rig.engine.stats().speculation?.drafts).toBeGreaterThan(0);
});

describe('a GPU that samples', () => {
  /** Draws of an answer's tokens by their position, and how often logits were asked for. */
  async function drawsOf(options: GenerateOptions, numSpeculativeTokens: number) {
    const draft = (tokenIds: readonly number[], count: number) =>
      fakeAnswer(tokenIds, count).map((id, i) => ((tokenIds.length + i) % 7 === 0 ? (id + 1) % FAKE_VOCAB : id));
    const rig = samplingRig({ isFree: false, draft }, 6);
    rig.add('a', prompt(4), { seed: 5, maxTokens: 60, ignoreEos: true, numSpeculativeTokens, ...options });
    await rig.finish();
    expect(rig.tokens.get('a')).toEqual([fakeAnswer(prompt(4), 60)]);
    const draws = new Map<number, Set<number>>();
    let hostRows = 0;
    for (const { tokenIds, numComputedTokens, sampling = [] } of rig.executor.batches.flatMap(
      (each) => each.sequences,
    )) {
      if (sampling.length === 0) hostRows++;
      // Instructions are for the last places: of a prompt only its end has some.
      const first = numComputedTokens + tokenIds.length - sampling.length;
      for (const [i, { u }] of sampling.entries()) draws.set(first + i, (draws.get(first + i) ?? new Set()).add(u));
    }
    return { draws, hostRows, guesses: rig.ended.get('a')?.guesses };
  }

  test('chooses at guessed places, too: each has one draw, that of decoding without guesses', async () => {
    const options = { temperature: 1, presencePenalty: 0.5, badWords: [] };
    const plain = await drawsOf(options, 0);
    const guessed = await drawsOf(options, 6);
    expect(guessed.hostRows).toBe(0);
    expect(guessed.guesses?.accepted).toBeGreaterThan(20);
    expect(guessed.guesses?.rejected).toBeGreaterThan(5);
    // A step ahead has the number of a token as its own place.
    for (const [place, draws] of plain.draws)
      expect([place, [...draws]]).toEqual([place, [...(guessed.draws.get(place) ?? [])]]);
  });

  test('leaves it to the host where logprobs are asked for', async () => {
    const { hostRows, guesses } = await drawsOf({ logprobs: 1 }, 6);
    expect(hostRows).toBeGreaterThan(10);
    expect(guesses?.accepted).toBeGreaterThan(20);
  });
});

/** An engine whose executor chooses tokens. @param drafter of all its answers. */
function samplingRig(drafter: Drafter, numSpeculativeTokens: number): Rig {
  const context = {
    speculativeConfig: { method: 'ngram', numSpeculativeTokens },
    draftSource: { open: () => drafter, prepare: async () => {}, dispose: async () => {} },
    enablePrefixCaching: false,
  } as const;
  return new Rig(context, undefined, true);
}

/** A scheduler with two answers of one token each, for which 5 more are guessed. */
function twoAnswers({ vocabSize, kvCache }: { vocabSize: number } & Pick<StateFootprint, 'kvCache'>): Scheduler {
  const drafter = { isFree: false, draft: (_: readonly number[], count: number) => new Array<number>(count).fill(1) };
  const source = { open: () => drafter, prepare: async () => {}, dispose: async () => {} };
  const speculations = new Speculations({ method: 'ngram', numSpeculativeTokens: 40 }, source);
  const plain = [2, 2, 2].map(() => ({ isPrefill: false, numTokens: 1, drafts: [] }));
  for (const _ of plain) speculations.costs.step(plain.slice(1), { seconds: 0, drafting: 0 });
  const states = new StateManager({
    slots: 2,
    footprint: { bytes: 4, length: 1, kvCache },
    enablePrefixCaching: false,
    prefixCacheBytes: 0,
    snapshotInterval: 256,
  });
  const scheduler = new Scheduler(states, { maxNumBatchedTokens: 512, vocabSize }, false);
  const context = { tokenizer: undefined, eosTokenIds: new Set<number>(), maxModelLen: 1000, vocabSize, speculations };
  for (const id of ['a', 'b']) {
    const input = { promptTokenIds: [1, 2], params: greedy(endless) };
    const request = new Request(input, { id, order: 0, turn: 0 }, context);
    scheduler.add(request.sequences[0]);
  }
  for (const { sequence, numTokens } of scheduler.schedule()) {
    sequence.advance(numTokens);
    sequence.append({ tokenId: 1, logprob: 0 });
  }
  return scheduler;
}

function numTokens({ tokenIds }: ScheduledTokens): number {
  return tokenIds.length;
}

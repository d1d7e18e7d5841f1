import { afterEach, describe, expect, test, vi } from 'vitest';
import { Turns } from '../../src/distributed/event-loop.ts';
import { Sequence } from '../../src/engine/request/request.ts';
import { prompt, Rig } from './engine-rig.ts';
import { fakeAnswer } from './fake-executor.ts';

afterEach(() => {
  vi.restoreAllMocks();
});

/** Each look at the clock is a second later: all work seems long. */
function slowClock(): void {
  let now = performance.now();
  vi.spyOn(performance, 'now').mockImplementation(() => {
    now += 1000;
    return now;
  });
}

test('short work continues at once, long work gives the event loop a turn', async () => {
  let turns = 0;
  setImmediate(() => turns++);
  const short = new Turns(1e9);
  for (let i = 0; i < 10; i++) await short.next();
  expect(turns).toBe(0);
  const long = new Turns(0);
  await long.next();
  expect(turns).toBe(1);
});

describe('while the tokens of a step are chosen others have turns', () => {
  test('and each answer is what it is without', async () => {
    slowClock();
    const rig = new Rig({ maxNumSeqs: 4 });
    for (let i = 0; i < 6; i++) rig.add(`${i}`, prompt(5, i), { maxTokens: 7, n: 1 + (i % 3) });
    await rig.finish();
    for (let i = 0; i < 6; i++) {
      const answers = Array.from({ length: 1 + (i % 3) }, () => fakeAnswer(prompt(5, i), 7));
      expect(rig.tokens.get(`${i}`)).toEqual(answers);
    }
  });

  test.each([0, 1, 2, 3])(
    'in which a request can be dropped: between its answers, %i chosen before',
    async (chosen) => {
      slowClock();
      const rig = new Rig({ maxNumSeqs: 8 });
      const { sample } = Sequence.prototype;
      let count = 0;
      vi.spyOn(Sequence.prototype, 'sample').mockImplementation(function (this: Sequence, logits) {
        if (this.request.id === 'dropped' && count++ === chosen) setImmediate(() => rig.engine.abortRequest('dropped'));
        return sample.call(this, logits);
      });
      rig.add('before', prompt(3, 1), { maxTokens: 5 });
      rig.add('dropped', prompt(3, 2), { maxTokens: 5, n: 4 });
      rig.add('after', prompt(3, 3), { maxTokens: 5, n: 2 });
      await rig.finish();
      expect(rig.tokens.get('before')).toEqual([fakeAnswer(prompt(3, 1), 5)]);
      expect(rig.tokens.get('after')).toEqual([fakeAnswer(prompt(3, 3), 5), fakeAnswer(prompt(3, 3), 5)]);
      expect(rig.tokens.get('dropped') ?? []).toEqual([]);
      expect(rig.engine.stats()).toMatchObject({ freeSlots: 8, runningRequests: 0, waitingRequests: 0 });
    },
  );
});

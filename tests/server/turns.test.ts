import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { EventPace } from '../../src/server/answer/event-pace.ts';
import { eventStream } from '../../src/server/answer/event-stream.ts';
import { DATA_EVENTS } from '../../src/server/answer/stream-form.ts';
import { readEvents, sharedServer } from './test-server.ts';

/** Turns of the event loop while something runs. */
async function turnsDuring(run: () => Promise<unknown>): Promise<number> {
  let turns = 0;
  let next: NodeJS.Immediate;
  const count = () => {
    turns++;
    next = setImmediate(count);
  };
  next = setImmediate(count);
  await run();
  clearImmediate(next);
  return turns;
}

describe('no answer keeps others waiting', () => {
  test('a turn of the event loop lies between two events that are there at once', async () => {
    async function* events() {
      for (let i = 0; i < 50; i++) yield { i };
    }
    const onEnd = vi.fn();
    const response = eventStream(events(), { streamForm: DATA_EVENTS, failure: (error) => [error] }, onEnd);
    expect(await turnsDuring(() => response.text())).toBeGreaterThanOrEqual(50);
    expect(onEnd).toHaveBeenCalledExactlyOnceWith(undefined);
  });
});

describe('the pace of events', () => {
  const output = (finished: boolean) => ({ promptIndex: 0, requestId: '', numCachedTokens: 0, outputs: [], finished });

  /**
   * Milliseconds after which one of `streams` asks for its second and its third output, and for what follows the last.
   * @param begun whether the others have had an output.
   */
  async function waits(streams: number, begun = true): Promise<number[]> {
    vi.useFakeTimers({ toFake: ['setTimeout', 'performance'] });
    onTestFinished(() => void vi.useRealTimers());
    const pace = new EventPace();
    async function* first() {
      yield output(false);
    }
    for (let i = 1; i < streams; i++) {
      const other = pace.open();
      const reader = other.paced(first())[Symbol.asyncIterator]();
      // One that is closed at once does not count, though an output comes.
      if (i === 1) other.close();
      if (begun) await reader.next();
    }
    const stream = pace.open();
    const asked: number[] = [];
    async function* outputs() {
      for (const finished of [false, false, true]) {
        yield output(finished);
        asked.push(performance.now());
      }
    }
    const read = async () => {
      const begin = performance.now();
      for await (const _ of stream.paced(outputs()));
      return asked.map((time, i) => time - (asked[i - 1] ?? begin));
    };
    const reading = read();
    await vi.runAllTimersAsync();
    stream.close();
    return reading;
  }

  test('of one stream, outputs are asked for at once', async () => {
    expect(await waits(1)).toEqual([0, 0, 0]);
  });

  test('of many streams, only the end of an answer is', async () => {
    const [second, third, end] = await waits(201);
    expect(second).toBeGreaterThanOrEqual(39);
    expect(second).toBeLessThanOrEqual(40);
    expect(third).toBeGreaterThanOrEqual(39);
    expect(end).toBe(0);
  });

  test('of many streams that wait for their first output, one has its outputs at once', async () => {
    expect(await waits(200, false)).toEqual([0, 0, 0]);
  });
});

describe('long echoes', async () => {
  const { llm, post } = await sharedServer();
  const prompt = llm.tokenize('export interface User { name: string; }\n'.repeat(20));

  test('token ids become a text once for all answers', async () => {
    const { tokenizer } = llm;
    if (!tokenizer) throw new Error('The model has a tokenizer.');
    const prompts = [prompt, prompt.slice(1)];
    const begins = prompts.map((ids) => tokenizer.decode(ids, { skipSpecialTokens: false }));
    const decode = vi.spyOn(tokenizer, 'decode');
    onTestFinished(() => decode.mockRestore());
    const texts: string[] = [];
    for (const stream of [false, true]) {
      const body = { prompt: prompts, echo: true, n: 3, max_tokens: 1, seed: 5, stream };
      const response = await post('/v1/completions', body);
      const whole = stream ? undefined : await response.json();
      const choices = whole?.choices ?? (await readEvents(response)).events.flatMap((event) => event.choices);
      const given = Array.from({ length: 6 }, (_, i) =>
        choices
          .filter(({ index }: { index: number }) => index === i)
          .map(({ text }: { text: string }) => text)
          .join(''),
      );
      texts.push(given.join());
      expect(given.every((text, i) => text.startsWith(begins[Math.floor(i / 3)]))).toBe(true);
      expect(decode).toHaveBeenCalledTimes(2);
      decode.mockClear();
    }
    expect(texts[0]).toBe(texts[1]);
  });

  test('an event of a stream has few tokens with their logprobs, and together they are the whole', async () => {
    const body = { prompt, echo: true, logprobs: 3, max_tokens: 2, temperature: 0 };
    const whole = (await (await post('/v1/completions', body)).json()).choices[0];
    const { events, done } = await readEvents(await post('/v1/completions', { ...body, stream: true }));
    const choices = events.flatMap((event) => event.choices as (typeof whole)[]);
    expect(done).toBe(true);
    expect(prompt.length).toBeGreaterThan(128);
    expect(Math.max(...choices.map(({ logprobs }) => logprobs.tokens.length))).toBeLessThanOrEqual(64);
    expect(choices.map(({ text }) => text).join('')).toBe(whole.text);
    for (const name of ['tokens', 'token_logprobs', 'text_offset']) {
      expect(choices.flatMap(({ logprobs }) => logprobs[name])).toEqual(whole.logprobs[name]);
    }
  });
});

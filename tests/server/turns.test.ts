import { describe, expect, onTestFinished, test, vi } from 'vitest';
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

import { describe, expect, test } from 'vitest';
import { CHAT_TEMPLATE, sharedServer } from './test-server.ts';

const server = await sharedServer({ chatTemplate: CHAT_TEMPLATE, limits: { maxModelLen: 64 } });
const { llm } = server;
const prompt = 'export interface User {';
const messages = [{ role: 'user', content: prompt }];

// biome-ignore lint/suspicious/noExplicitAny: answers of all forms
type Json = any;

async function ask(path: string, body: object): Promise<Json> {
  const response = await server.post(path, body);
  return { status: response.status, ...(await response.json()) };
}
const complete = (fields: object) => ask('/v1/completions', { prompt, max_tokens: 2, temperature: 0, ...fields });
const chat = (fields: object) => ask('/v1/chat/completions', { messages, max_tokens: 2, temperature: 0, ...fields });

describe('prompt_logprobs', () => {
  test('are those of an echo, each with its rank and text', async () => {
    const { choices } = await complete({ prompt_logprobs: 2, n: 2, echo: true, logprobs: 1 });
    const tokenIds = llm.tokenize(prompt);
    for (const { logprobs, prompt_logprobs: places } of choices) {
      expect(places).toHaveLength(tokenIds.length);
      expect(places[0]).toBeNull();
      for (const [i, id] of tokenIds.entries()) {
        if (i === 0) continue;
        const own = places[i][id];
        expect(own.logprob).toBe(logprobs.token_logprobs[i]);
        expect(own.decoded_token).toBe(logprobs.tokens[i]);
        const ranks = Object.values<{ rank: number }>(places[i]).map(({ rank }) => rank);
        expect(ranks.filter((rank) => rank <= 2).sort()).toEqual([1, 2]);
        expect(ranks.length).toBe(own.rank <= 2 ? 2 : 3);
        // One of the likeliest was asked for, besides the token itself.
        expect(Object.keys(logprobs.top_logprobs[i]).length).toBeLessThanOrEqual(2);
      }
    }
    const { choices: without } = await complete({});
    expect(without[0]).not.toHaveProperty('prompt_logprobs');
  });

  test('of several prompts, and of a chat', async () => {
    const tokenIds = llm.tokenize(prompt);
    const { choices } = await complete({ prompt: [tokenIds, tokenIds.slice(2)], prompt_logprobs: 0 });
    expect(choices.map((choice: { prompt_logprobs: [] }) => choice.prompt_logprobs.length)).toEqual([
      tokenIds.length,
      tokenIds.length - 2,
    ]);
    const { prompt_logprobs: places, usage } = await chat({ prompt_logprobs: 1, n: 2 });
    expect(places).toHaveLength(usage.prompt_tokens);
    const texts = places.slice(1).map((place: object, i: number) => {
      const id = llm.tokenize(`<|user|>${prompt}\n<|assistant|>`, { addSpecialTokens: false })[i + 1];
      return (place as Record<string, { decoded_token: string }>)[id].decoded_token;
    });
    expect(`<|user|>${prompt}\n<|assistant|>`.endsWith(texts.join(''))).toBe(true);
  });

  test.each([
    [{ prompt_logprobs: 1, stream: true }, /not sent with 'stream'/],
    [{ prompt_logprobs: 21 }, /at most 20/],
    [{ prompt_logprobs: -1 }, /at least 0/],
  ])('%j is refused', async (fields, message) => {
    for (const asked of [complete, chat]) {
      const { status, error } = await asked(fields);
      expect({ status, param: error.param }).toEqual({ status: 400, param: 'prompt_logprobs' });
      expect(error.message).toMatch(message);
    }
  });
});

describe('truncate_prompt_tokens', () => {
  test('keeps the last tokens of each prompt', async () => {
    const tokenIds = llm.tokenize(prompt);
    const fields = { truncate_prompt_tokens: 3, return_token_ids: true, echo: true };
    for (const given of [prompt, tokenIds]) {
      const { choices, usage } = await complete({ ...fields, prompt: given });
      expect(usage.prompt_tokens).toBe(3);
      expect(choices[0].prompt_token_ids).toEqual(tokenIds.slice(-3));
      expect(choices[0].text).toMatch(llm.tokenizer?.decode(tokenIds.slice(-3)) ?? '');
    }
    const { usage } = await chat({ truncate_prompt_tokens: 3 });
    expect(usage.prompt_tokens).toBe(3);
  });

  test('of -1 keeps as many as the server takes', async () => {
    const long = llm.tokenize(prompt.repeat(20));
    expect((await complete({ prompt: long })).error.code).toBe('context_length_exceeded');
    expect((await complete({ prompt: long, truncate_prompt_tokens: -1 })).usage.prompt_tokens).toBe(62);
    expect((await complete({ prompt: prompt.repeat(20), truncate_prompt_tokens: -1 })).usage.prompt_tokens).toBe(62);
    const { usage } = await chat({
      messages: [{ role: 'user', content: prompt.repeat(20) }],
      max_tokens: undefined,
      truncate_prompt_tokens: -1,
    });
    expect(usage).toMatchObject({ prompt_tokens: 63, completion_tokens: 1 });
  });

  test.each([0, -2])('of %d is refused', async (count) => {
    for (const asked of [complete, chat]) {
      const { status, error } = await asked({ truncate_prompt_tokens: count });
      expect({ status, param: error.param }).toEqual({ status: 400, param: 'truncate_prompt_tokens' });
    }
  });
});

describe('allowed_token_ids', () => {
  test('are all that answers have, of several prompts too', async () => {
    const allowed = llm.tokenize('a b c', { addSpecialTokens: false });
    const { choices } = await complete({
      prompt: [prompt, 'import '],
      allowed_token_ids: allowed,
      max_tokens: 6,
      return_token_ids: true,
    });
    for (const { token_ids: ids } of choices) for (const id of ids) expect(allowed).toContain(id);
    const answer = await chat({ allowed_token_ids: allowed, max_tokens: 6, return_token_ids: true, temperature: 1 });
    for (const id of answer.choices[0].token_ids) expect(allowed).toContain(id);
  });

  test('are refused where they leave nothing', async () => {
    const eos = llm.eosTokenIds[0];
    for (const [fields, code, message] of [
      [{ allowed_token_ids: [] }, 'sampling_params', /^allowed_token_ids is empty/],
      [{ allowed_token_ids: [-1] }, 'sampling_params', /^allowed_token_ids has the id -1/],
      [{ allowed_token_ids: [1e6] }, 'token_id', /outside the vocabulary/],
      [{ allowed_token_ids: [eos], min_tokens: 2 }, 'sampling_params', /^allowed_token_ids leaves no token/],
    ] as const) {
      const { status, error } = await complete(fields);
      expect({ status, code: error.code }).toEqual({ status: 400, code });
      expect(error.message).toMatch(message);
    }
  });
});

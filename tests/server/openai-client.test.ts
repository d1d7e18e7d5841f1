import OpenAI, { AuthenticationError, BadRequestError, NotFoundError } from 'openai';
import { describe, expect, test } from 'vitest';
import { expectedCases } from '../cli/tiny-dts.ts';
import { CHAT_TEMPLATE, sharedServer } from './test-server.ts';

const server = await sharedServer({ chatTemplate: CHAT_TEMPLATE, apiKeys: ['first', 'second'] });
const { client, llm } = server;
const model = 'tiny-dts';
const PROMPT = 'export interface User {';
const messages = [
  { role: 'system' as const, content: 'Write types.' },
  { role: 'user' as const, content: [{ type: 'text' as const, text: 'A user' }] },
];

describe('the official client', () => {
  test('lists and describes the model', async () => {
    const { data } = await client.models.list();
    expect(data.map(({ id }) => id)).toEqual([model]);
    expect(await client.models.retrieve(model)).toMatchObject({
      id: model,
      object: 'model',
      owned_by: 'mamba2',
      root: model,
      parent: null,
      max_model_len: 16384,
      created: expect.any(Number),
      permission: [{ object: 'model_permission', allow_sampling: true, allow_logprobs: true }],
    });
    await expect(client.models.retrieve('gpt-4')).rejects.toThrow(NotFoundError);
  });

  test('needs one of the keys', async () => {
    const { baseURL } = client;
    await expect(new OpenAI({ baseURL, apiKey: 'wrong' }).models.list()).rejects.toThrow(AuthenticationError);
    expect((await new OpenAI({ baseURL, apiKey: 'second' }).models.list()).data).toHaveLength(1);
  });

  test('completes what transformers completes', async () => {
    for (const { prompt, greedy } of await expectedCases()) {
      const { choices, usage } = await client.completions.create({
        model,
        prompt,
        max_tokens: greedy.length,
        temperature: 0,
      });
      expect(choices[0].text).toBe(llm.tokenizer?.decode(greedy));
      expect(usage?.completion_tokens).toBe(greedy.length);
    }
  });

  test('gets the same text in pieces, and the usage at the end', async () => {
    const params = { model, prompt: PROMPT, max_tokens: 40, temperature: 0.8, seed: 5 };
    const whole = await client.completions.create(params);
    const stream = await client.completions.create({
      ...params,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = '';
    let pieces = 0;
    let usage: OpenAI.CompletionUsage | null | undefined;
    let finishReason: string | null = null;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.text ?? '';
      pieces++;
      usage = chunk.usage;
      finishReason = chunk.choices[0]?.finish_reason ?? finishReason;
    }
    expect(text).toBe(whole.choices[0].text);
    expect(finishReason).toBe(whole.choices[0].finish_reason);
    expect(pieces).toBeGreaterThan(5);
    // The second time the prompt is known.
    const { prompt_tokens_details: _, ...counts } = whole.usage ?? {};
    expect(usage).toMatchObject(counts);
    expect(usage?.prompt_tokens_details?.cached_tokens).toBe(usage?.prompt_tokens);
  });

  test('chats, whole and in pieces', async () => {
    const params = { model, messages, max_completion_tokens: 30, temperature: 0 };
    const whole = await client.chat.completions.create(params);
    expect(whole.object).toBe('chat.completion');
    const [{ message, finish_reason }] = whole.choices;
    expect(message.role).toBe('assistant');
    const alone = await llm.complete(
      llm.tokenize('<|system|>Write types.\n<|user|>A user\n<|assistant|>', { addSpecialTokens: false }),
      { maxTokens: 30, temperature: 0 },
    );
    expect(message.content).toBe(alone.text);
    expect(finish_reason).toBe(alone.finishReason);
    const runner = client.chat.completions.stream({ ...params, stream_options: { include_usage: true } });
    const final = await runner.finalChatCompletion();
    expect(final.choices[0].message.content).toBe(alone.text);
    expect(final.usage?.completion_tokens).toBe(whole.usage?.completion_tokens);
    const roles: unknown[] = [];
    for await (const chunk of await client.chat.completions.create({ ...params, stream: true })) {
      expect(chunk.object).toBe('chat.completion.chunk');
      roles.push(chunk.choices[0].delta.role);
      expect(chunk.usage).toBeUndefined();
    }
    expect(roles.filter((role) => role !== undefined)).toEqual(['assistant']);
  });

  test('gets n answers, each what its seed gives alone', async () => {
    const params = { model, messages, max_tokens: 12, temperature: 1, seed: 40 };
    const { choices, usage } = await client.chat.completions.create({ ...params, n: 3 });
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2]);
    expect(usage?.completion_tokens).toBeLessThanOrEqual(36);
    const texts = ['', '', ''];
    for await (const { choices } of await client.chat.completions.create({ ...params, n: 3, stream: true }))
      for (const { index, delta } of choices) texts[index] += delta.content ?? '';
    for (const [i, { message }] of choices.entries()) {
      const alone = await client.chat.completions.create({ ...params, seed: 40 + i });
      expect(alone.choices[0].message.content).toBe(message.content);
      expect(texts[i]).toBe(message.content);
    }
  });

  test('gets probabilities of a chat', async () => {
    const params = { model, messages, max_tokens: 8, temperature: 0, logprobs: true, top_logprobs: 3 };
    const { choices } = await client.chat.completions.create(params);
    const content = choices[0].logprobs?.content ?? [];
    expect(content).toHaveLength(8);
    expect(content.map(({ token }) => token).join('')).toBe(choices[0].message.content);
    for (const { token, logprob, bytes, top_logprobs } of content) {
      expect(Buffer.from(bytes ?? []).toString()).toBe(token);
      expect(top_logprobs).toHaveLength(3);
      // Greedy: the likeliest is the chosen one.
      expect(top_logprobs[0]).toEqual({ token, logprob, bytes });
    }
    const streamed: unknown[] = [];
    for await (const chunk of await client.chat.completions.create({ ...params, stream: true }))
      streamed.push(...(chunk.choices[0].logprobs?.content ?? []));
    expect(streamed).toEqual(content);
  });

  test('stops where it is told, and sees why', async () => {
    const { choices } = await client.completions.create({
      model,
      prompt: PROMPT,
      max_tokens: 60,
      temperature: 0,
      stop: ';',
    });
    expect(choices[0]).toMatchObject({ finish_reason: 'stop', stop_reason: ';' });
    expect(choices[0].text).not.toContain(';');
  });

  test('reads errors as errors', async () => {
    const wrong = client.completions.create({ model, prompt: PROMPT, temperature: -1 });
    await expect(wrong).rejects.toThrow(BadRequestError);
    await expect(wrong).rejects.toMatchObject({ param: 'temperature', code: 'sampling_params' });
    await expect(client.completions.create({ model: 'other', prompt: PROMPT })).rejects.toThrow(NotFoundError);
  });
});

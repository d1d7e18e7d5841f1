import { describe, expect, onTestFinished, test } from 'vitest';
import { LLM } from '../../src/engine/llm.ts';
import { createApp } from '../../src/server/app.ts';
import { goldenWithTokenizer } from '../engine/golden-folder.ts';
import { byteFallbackJson } from '../text/tokenizers.ts';

const TEMPLATE = {
  type: 'TemplateProcessing',
  single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
  pair: [],
  special_tokens: { '<s>': { id: '<s>', ids: [0], tokens: ['<s>'] } },
};

/** `▁world`, which no merge makes. */
const WORLD = 6;

const TEXT = 'Hello world ñ語a';

/** A model whose decoder strips the first space and has bytes; with a token at the beginning of a text, where asked. */
async function serve(hasBos = false) {
  const json = hasBos ? { ...byteFallbackJson, post_processor: TEMPLATE } : byteFallbackJson;
  const files = { 'tokenizer.json': json, 'tokenizer_config.json': { bos_token: '<s>', eos_token: '</s>' } };
  const llm = await LLM.load(await goldenWithTokenizer({ files }), { device: 'reference' });
  onTestFinished(() => llm.dispose());
  const chatTemplate = '{% for m in messages %}{{ m.content }}{% endfor %}';
  const app = createApp({ llm, modelNames: ['m'], chatTemplate });
  const post = async (path: string, body: object) => {
    const headers = { 'content-type': 'application/json' };
    return app.request(path, { method: 'POST', headers, body: JSON.stringify(body) });
  };
  const { tokenizer } = llm;
  if (!tokenizer) throw new Error('the folder has a tokenizer');
  const ids = tokenizer.encode(TEXT, { addSpecialTokens: false });
  return { post, ids };
}

function utf8(bytes: readonly number[]): string {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(bytes));
}

describe('logprobs of an echoed text', () => {
  test.each([false, true])('are of tokens that together are the text; with a token before it: %s', async (hasBos) => {
    const { post } = await serve(hasBos);
    const body = { prompt: TEXT, max_tokens: 0, echo: true, logprobs: 20 };
    const { choices } = await (await post('/v1/completions', body)).json();
    const { tokens, text_offset, top_logprobs } = choices[0].logprobs;
    const begin = hasBos ? 1 : 0;
    if (hasBos) expect([tokens[0], text_offset[0], text_offset[1]]).toEqual(['<s>', 0, 0]);
    expect(tokens.slice(begin).join('')).toBe(TEXT);
    expect(choices[0].text).toBe(TEXT);
    for (let i = begin; i < tokens.length; i++) expect(TEXT.startsWith(tokens[i], text_offset[i])).toBe(true);
    for (const top of top_logprobs.slice(1)) expect(Object.keys(top).length).toBeOneOf([20, 21]);
    for (const [i, top] of top_logprobs.entries()) if (top) expect(top).toHaveProperty([tokens[i]]);
  });

  test('of token ids have the special tokens that the text shows', async () => {
    const { post, ids } = await serve();
    const body = { prompt: [0, ...ids], max_tokens: 0, echo: true, logprobs: 1 };
    const { choices } = await (await post('/v1/completions', body)).json();
    expect(choices[0].logprobs.tokens.join('')).toBe(choices[0].text);
    expect(choices[0].text).toBe(`<s> ${TEXT}`);
  });
});

describe('logprobs of an answer', () => {
  const request = { max_tokens: 24, temperature: 1.5, seed: 3, ignore_eos: true };

  test('of a completion are of tokens that together are the text, streamed or not', async () => {
    const { post } = await serve();
    const body = { ...request, prompt: TEXT, logprobs: 20 };
    const { choices } = await (await post('/v1/completions', body)).json();
    const { text, logprobs } = choices[0];
    expect(logprobs.tokens.join('')).toBe(text);
    for (const [i, token] of logprobs.tokens.entries())
      expect(text.startsWith(token, logprobs.text_offset[i])).toBe(true);
    const streamed = await events(await post('/v1/completions', { ...body, stream: true }));
    const parts = streamed.map((event) => event.choices[0].logprobs);
    for (const key of ['tokens', 'text_offset', 'top_logprobs']) {
      expect(parts.flatMap((part) => part[key])).toEqual(logprobs[key]);
    }
  });

  test('of a chat have the bytes of each token, streamed or not', async () => {
    const { post, ids } = await serve();
    const logit_bias = Object.fromEntries([WORLD, ...ids].map((id) => [id, 100]));
    const messages = [{ role: 'user', content: 'a' }];
    // Hot enough that each of these tokens comes about as often.
    const body = {
      ...request,
      max_tokens: 60,
      temperature: 20,
      logit_bias,
      messages,
      logprobs: true,
      top_logprobs: 20,
    };
    const { choices } = await (await post('/v1/chat/completions', body)).json();
    const { content } = choices[0].logprobs;
    const text = choices[0].message.content;
    expect(text).toContain(' world');
    expect(content.map(({ token }: { token: string }) => token).join('')).toBe(text);
    expect(utf8(content.flatMap(({ bytes }: { bytes: number[] }) => bytes))).toBe(text);
    expect(content.some(({ bytes }: { bytes: number[] }) => bytes.length === 1 && bytes[0] >= 0x80)).toBe(true);
    for (const { top_logprobs } of content) {
      expect(new Set(top_logprobs.map(({ token }: { token: string }) => token)).size).toBe(20);
    }
    const streamed = await events(await post('/v1/chat/completions', { ...body, stream: true }));
    expect(streamed.flatMap((event) => event.choices[0].logprobs.content)).toEqual(content);
  });
});

describe('/tokenize', () => {
  test('writes tokens that together are the text, after what stands before it', async () => {
    for (const hasBos of [false, true]) {
      const { post } = await serve(hasBos);
      const body = { prompt: TEXT, return_token_strs: true };
      const { token_strs, tokens } = await (await post('/tokenize', body)).json();
      expect(token_strs).toHaveLength(tokens.length);
      expect(token_strs.join('')).toBe(hasBos ? `<s>${TEXT}` : TEXT);
    }
    const { post } = await serve();
    const messages = [{ role: 'user', content: '<s>a b' }];
    const { token_strs } = await (await post('/tokenize', { messages, return_token_strs: true })).json();
    expect(token_strs[0]).toBe('<s>');
  });
});

async function events(response: Response) {
  const lines = (await response.text()).split('\n').filter((line) => line.startsWith('data: {'));
  return lines.map((line) => JSON.parse(line.slice(6)));
}

import { zodResponseFormat } from 'openai/helpers/zod';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { CHAT_TEMPLATE, sharedServer } from './test-server.ts';

const server = await sharedServer({}, { chatTemplate: CHAT_TEMPLATE });
const model = 'tiny-dts';
const messages = [{ role: 'user' as const, content: 'Name a user.' }];
const prompt = 'export interface User {';

async function complete(fields: object): Promise<string> {
  const response = await server.post('/v1/completions', { prompt, max_tokens: 60, seed: 1, ...fields });
  const body = (await response.json()) as { choices?: { text: string }[]; error?: { message: string } };
  return body.choices?.[0].text ?? `${response.status} ${body.error?.message}`;
}

describe('OpenAI', () => {
  test('response_format with a schema, whole and streamed', async () => {
    const User = z.object({ admin: z.boolean(), level: z.union([z.literal(1), z.literal(2)]) });
    const asked = { model, messages, seed: 7, max_tokens: 100, response_format: zodResponseFormat(User, 'user') };
    const parsed = await server.client.chat.completions.parse(asked);
    const user = parsed.choices[0].message.parsed;
    expect(User.parse(user)).toEqual(user);
    let text = '';
    for await (const chunk of await server.client.chat.completions.create({ ...asked, stream: true })) {
      text += chunk.choices[0]?.delta.content ?? '';
    }
    expect(text).toBe(parsed.choices[0].message.content);
  });

  test('an empty member of a schema is no missing one', async () => {
    const schema = {
      type: 'object',
      properties: { a: { const: '' }, b: { enum: [null] } },
      required: ['a', 'b'],
      additionalProperties: false,
    };
    const { choices } = await server.client.chat.completions.create({
      model,
      messages,
      response_format: { type: 'json_schema', json_schema: { name: 'empty', schema, strict: true } },
    });
    expect(JSON.parse(choices[0].message.content ?? '')).toEqual({ a: '', b: null });
  });

  test('a choice of n answers, with logprobs', async () => {
    const response = await server.post('/v1/chat/completions', {
      messages,
      n: 3,
      seed: 5,
      logprobs: true,
      top_logprobs: 2,
      structured_outputs: { choice: ['alpha', 'beta'] },
    });
    const { choices } = (await response.json()) as {
      choices: { message: { content: string }; finish_reason: string }[];
    };
    expect(choices).toHaveLength(3);
    for (const { message, finish_reason } of choices) {
      expect(['alpha', 'beta']).toContain(message.content);
      expect(finish_reason).toBe('stop');
    }
  });
});

describe('vLLM', () => {
  test.each<[string, object, RegExp]>([
    ['structured_outputs.regex', { structured_outputs: { regex: '[ab]{3}' } }, /^[ab]{3}$/],
    ['structured_outputs.choice', { structured_outputs: { choice: ['yes', 'no'] } }, /^(yes|no)$/],
    ['structured_outputs.grammar', { structured_outputs: { grammar: 'root ::= "x" [0-9]' } }, /^x\d$/],
    ['structured_outputs.json', { structured_outputs: { json: { type: 'boolean' } } }, /^(true|false)$/],
    ['guided_json as text', { guided_json: '{"type": "boolean"}' }, /^(true|false)$/],
    ['guided_regex', { guided_regex: 'a|b' }, /^[ab]$/],
    ['guided_choice', { guided_choice: ['c'] }, /^c$/],
    ['guided_grammar', { guided_grammar: 'root ::= "d"' }, /^d$/],
    [
      'structural tags of the older form',
      {
        response_format: {
          type: 'structural_tag',
          structures: [{ begin: '<f>', schema: { type: 'boolean' }, end: '</f>' }],
          triggers: ['<f>'],
        },
        max_tokens: 5,
      },
      /./s,
    ],
  ])('%s', async (_, fields, form) => {
    expect(await complete(fields)).toMatch(form);
  });

  test('what can not be compiled is the request’s error', async () => {
    expect(await complete({ guided_grammar: 'root ::= (' })).toMatch(
      /^400 The grammar can't be compiled: line 1, column 11: expected '\)'/,
    );
    expect(await complete({ guided_json: { uniqueItems: true } })).toMatch(
      /^400 The schema at # has 'uniqueItems' true/,
    );
    expect(await complete({ guided_regex: '(?<!a)b' })).toMatch(/^400 .*lookaround/);
  });

  test('forms and free requests together give what each gives alone', async () => {
    const asked = [
      { guided_regex: '[a-z]{5,9}' },
      {},
      { structured_outputs: { json: { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'] } } },
      { seed: 3 },
    ];
    const alone: string[] = [];
    for (const fields of asked) alone.push(await complete(fields));
    expect(await Promise.all([...asked, ...asked].map(complete))).toEqual([...alone, ...alone]);
  });
});

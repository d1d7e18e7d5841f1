import { expect, test } from 'vitest';
import { sharedServer } from './test-server.ts';

const { client, get } = await sharedServer();

test('the bundled model answers conversations by its completion template, and says that it is one', async () => {
  const { data } = await (await get('/v1/models')).json();
  expect(data[0]).toMatchObject({ has_chat_template: true, chat_template_kind: 'completion' });
  const greedy = { model: 'tiny-dts', temperature: 0, max_tokens: 12 };
  const first = { role: 'user', content: 'export interface User {' } as const;
  const chat = await client.chat.completions.create({ ...greedy, messages: [first] });
  const plain = await client.completions.create({ ...greedy, prompt: 'export interface User {' });
  const content = chat.choices[0].message.content ?? '';
  expect(content).toBe(plain.choices[0].text);
  expect(content).not.toBe('');
  const answered = { role: 'assistant', content } as const;
  const question = { role: 'user', content: 'A shop.' } as const;
  const next = await client.chat.completions.create({ ...greedy, messages: [first, answered, question] });
  const prompt = `${first.content}${content}\n/** A shop. */\n`;
  const goesOn = await client.completions.create({ ...greedy, prompt });
  expect(next.choices[0].message.content).toBe(goesOn.choices[0].text);
});

import { readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import OpenAI from 'openai';
import { afterAll, expect, test, vi } from 'vitest';
import { sharedServer } from './test-server.ts';

const page = readFileSync(new URL('../../docs/structured-output.md', import.meta.url), 'utf8');
const blocks = [...page.matchAll(/^```(?:js|ts)\n(.*?)^```/gms)].map(([, code]) => code);

const chatTemplate = '{% for m in messages %}{{ m.content }}{% endfor %}';
const server = await sharedServer({ modelNames: ['granite'] }, { chatTemplate });
const log = vi.spyOn(console, 'log').mockImplementation(() => {});
afterAll(() => log.mockRestore());

test('the examples of docs/structured-output.md run', async () => {
  expect(blocks).toHaveLength(2);
  const { complete } = server.llm;
  vi.spyOn(server.llm, 'complete').mockImplementation((prompt, options) =>
    complete.call(server.llm, prompt, { ...options, seed: 1, temperature: 0 }),
  );
  for (const block of blocks) {
    const body = stripTypeScriptTypes(block.replace(/^import .*\n/gm, ''), { mode: 'strip' })
      .replace('http://127.0.0.1:8000', server.url)
      // The bundled model has not learnt when a string is to end.
      .replace(/\{ type: 'string' \}/g, "{ type: 'string', maxLength: 5 }");
    const AsyncFunction = Object.getPrototypeOf(async () => {}).constructor as FunctionConstructor;
    await AsyncFunction('OpenAI', 'llm', body)(OpenAI, server.llm);
  }
  expect(log.mock.calls).toEqual([
    [{ name: expect.any(String), admin: expect.any(Boolean) }],
    [{ city: expect.any(String) }],
  ]);
});

import { readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { generateText } from 'ai';
import { createAgent, tool } from 'langchain';
import OpenAI from 'openai';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { mamba2 } from '../../src/adapters/ai-sdk/index.ts';
import { ChatMamba2 } from '../../src/adapters/langchain/index.ts';
import { scripted } from './scripted-answers.ts';
import { sharedServer } from './test-server.ts';

const page = readFileSync(new URL('../../docs/tools.md', import.meta.url), 'utf8');
const blocks = [...page.matchAll(/^```(?:js|ts)\n(.*?)^```/gms)].map(([, code]) => code);

const chatTemplate = '{{ tools }}{% for m in messages %}{{ m.content }}{% endfor %}{# <tool_call> </think> #}';
const server = await sharedServer({ modelNames: ['granite'] }, { chatTemplate });
const { llm } = server;
const script = scripted(llm);
const CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Lyon"}}</tool_call>';

const ROME = '{"city": "Rome"}';

/** Runs an example with what it imports. */
async function run(code: string): Promise<void> {
  const body = stripTypeScriptTypes(code.replace(/^import .*\n/gm, ''), { mode: 'strip' })
    .replace('http://127.0.0.1:8000', server.url)
    .replace(/^const llm = .*\n/m, '');
  const names = { OpenAI, llm, mamba2, generateText, ChatMamba2, createAgent, tool, z };
  const AsyncFunction = Object.getPrototypeOf(run).constructor as FunctionConstructor;
  await AsyncFunction(...Object.keys(names), body)(...Object.values(names));
}

describe('examples of docs/tools.md', () => {
  afterEach(() => void vi.restoreAllMocks());

  test('run', async () => {
    const log = vi.spyOn(console, 'log').mockImplementation(() => {});
    const write = vi.spyOn(process.stdout, 'write').mockImplementation(() => true);
    const answers = [
      [CALL],
      [CALL, 'It rains.'],
      ['<think>7 * 13</think>No.'],
      ['A model.'],
      [CALL, 'It rains.', ROME],
    ];
    expect(blocks).toHaveLength(answers.length);
    for (const [i, block] of blocks.entries()) {
      script.answers.push(...answers[i]);
      await run(block);
      expect(script.answers).toEqual([]);
    }
    expect(log.mock.calls).toEqual([['weather', { city: 'Lyon' }]]);
    const written = write.mock.calls.map(([text]) => text).join('');
    write.mockRestore();
    expect(written).toBe('7 * 13No.');
  });
});

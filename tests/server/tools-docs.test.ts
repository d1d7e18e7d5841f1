import { readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import Anthropic from '@anthropic-ai/sdk';
import { generateText } from 'ai';
import { createAgent, tool } from 'langchain';
import { Ollama } from 'ollama';
import OpenAI from 'openai';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { mamba2 } from '../../src/adapters/ai-sdk/index.ts';
import { ChatMamba2 } from '../../src/adapters/langchain/index.ts';
import { promptApi } from '../../src/adapters/prompt-api/index.ts';
import { scripted } from './scripted-answers.ts';
import { sharedServer } from './test-server.ts';

/** The examples of a page. */
function examples(page: string): string[] {
  const text = readFileSync(new URL(`../../docs/${page}`, import.meta.url), 'utf8');
  return [...text.matchAll(/^```(?:js|ts)\n(.*?)^```/gms)].map(([, code]) => code);
}

const blocks = examples('tools.md');

const chatTemplate = '{{ tools }}{% for m in messages %}{{ m.content }}{% endfor %}{# <tool_call> </think> #}';
const server = await sharedServer({ modelNames: ['granite', 'my-chat-model'] }, { chatTemplate });
const { llm } = server;
const script = scripted(llm);
const CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Lyon"}}</tool_call>';

const ROME = '{"city": "Rome"}';

/** Runs an example with what it imports. */
async function run(code: string): Promise<void> {
  const body = stripTypeScriptTypes(code.replace(/^import .*\n/gm, ''), { mode: 'strip' })
    .replace('http://127.0.0.1:8000', server.url)
    .replace(/^const llm = .*\n/m, '')
    .replace(/promptApi\(.*\)/, 'promptApi(llm)');
  const names = { Anthropic, OpenAI, Ollama, llm, mamba2, generateText, ChatMamba2, createAgent, tool, z, promptApi };
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
      [ROME, 'Paris.'],
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
    expect(written).toBe('7 * 13No.Paris.');
  });
});

test.each(['Anthropic', 'OpenAI', 'Ollama'])('examples of docs/server.md with the client of %s run', async (client) => {
  const log = vi.spyOn(console, 'log').mockImplementation(() => {});
  const write = vi.spyOn(process.stdout, 'write').mockImplementation(() => true);
  const own = examples('server.md').filter((code) => code.includes(`= new ${client}(`));
  expect(own.length).toBeGreaterThan(0);
  try {
    for (const code of own) {
      script.answers.push('Hello!');
      await run(code);
      const written = [...write.mock.calls, ...log.mock.calls].map(([text]) => text).join('');
      expect(written).toBe('Hello!');
      write.mockClear();
      log.mockClear();
    }
  } finally {
    vi.restoreAllMocks();
  }
});

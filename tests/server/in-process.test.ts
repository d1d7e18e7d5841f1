import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { ChatOpenAI } from '@langchain/openai';
import { generateText, streamText } from 'ai';
import OpenAI from 'openai';
import { afterAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { LLM } from '../../src/engine/llm.ts';
import { createApp } from '../../src/server/app.ts';
import { TINY_DTS } from '../cli/tiny-dts.ts';
import { CHAT_TEMPLATE } from './test-server.ts';

const llm = await LLM.load(TINY_DTS);
afterAll(() => llm.dispose());

const app = createApp({ llm, modelNames: ['tiny-dts'], chatTemplate: CHAT_TEMPLATE });
const inProcess: typeof fetch = async (input, init) => app.fetch(new Request(input, init));
/** Reserved by RFC 2606: whatever left the process would find nothing there. */
const baseURL = 'http://mamba2.invalid/v1';
const prompt = 'export interface User {';

/** What the model says to that, asked without a client. */
async function expected(): Promise<string> {
  let text = '';
  for await (const chunk of llm.generate(`<|user|>${prompt}\n<|assistant|>`, { maxTokens: 12, temperature: 0 })) {
    text += chunk.text;
  }
  return text;
}

describe('a client whose fetch never leaves the process', () => {
  beforeEach(() => {
    const outside = vi.spyOn(globalThis, 'fetch').mockRejectedValue(new Error('A request left the process.'));
    return () => outside.mockRestore();
  });

  test("OpenAI's", async () => {
    const client = new OpenAI({ baseURL, apiKey: 'none', fetch: inProcess });
    const request = { model: 'tiny-dts', messages: [{ role: 'user' as const, content: prompt }], max_tokens: 12 };
    const whole = await client.chat.completions.create({ ...request, temperature: 0 });
    expect(whole.choices[0].message.content).toBe(await expected());
    let text = '';
    for await (const chunk of await client.chat.completions.create({ ...request, temperature: 0, stream: true })) {
      text += chunk.choices[0]?.delta.content ?? '';
    }
    expect(text).toBe(await expected());
  });

  test("the AI SDK's", async () => {
    const model = createOpenAICompatible({ name: 'mamba2', baseURL, fetch: inProcess })('tiny-dts');
    const request = { model, prompt, maxOutputTokens: 12, temperature: 0 };
    expect((await generateText(request)).text).toBe(await expected());
    let text = '';
    for await (const piece of streamText(request).textStream) text += piece;
    expect(text).toBe(await expected());
  });

  test("LangChain's", async () => {
    const model = new ChatOpenAI({
      model: 'tiny-dts',
      apiKey: 'none',
      maxTokens: 12,
      temperature: 0,
      configuration: { baseURL, fetch: inProcess },
    });
    expect((await model.invoke(prompt)).text).toBe(await expected());
    let text = '';
    for await (const chunk of await model.stream(prompt)) text += chunk.text;
    expect(text).toBe(await expected());
  });
});

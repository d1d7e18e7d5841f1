import { AIMessage, type AIMessageChunk, type BaseMessage, HumanMessage, ToolMessage } from '@langchain/core/messages';
import { StringOutputParser } from '@langchain/core/output_parsers';
import { ChatPromptTemplate } from '@langchain/core/prompts';
import { tool } from '@langchain/core/tools';
import { concat } from '@langchain/core/utils/stream';
import { createAgent } from 'langchain';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { ChatMamba2 } from '../../src/adapters/langchain/index.ts';
import { LLM } from '../../src/engine/llm.ts';
import { TINY_DTS } from '../cli/tiny-dts.ts';
import { type Script, scripted } from '../server/scripted-answers.ts';
import { CALL, TEMPLATE } from './chat-templates.ts';

const llm = await LLM.load(TINY_DTS, { chatTemplate: TEMPLATE });
afterAll(() => llm.dispose());

const prompt = 'export interface User {';
const model = new ChatMamba2({ llm, model: 'tiny', temperature: 0 });

/** A stream's chunks, and the message that they make. */
async function gathered(stream: AsyncIterable<AIMessageChunk>) {
  const chunks: AIMessageChunk[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return { chunks, whole: chunks.reduce((sum, chunk) => concat(sum, chunk)) };
}

describe('what the model computes', () => {
  const options = { maxTokens: 12 };
  const expected = llm.completeChat([{ role: 'user', content: prompt }], { ...options, temperature: 0 });

  test('is the text of invoke, of stream and of streamEvents', async () => {
    const { text, usage } = await expected;
    const message = await model.invoke(prompt, options);
    expect(message.content).toBe(text);
    expect(message.response_metadata).toMatchObject({ finish_reason: 'length', model_name: 'tiny' });
    const usageMetadata = {
      input_tokens: usage.promptTokens,
      output_tokens: 12,
      total_tokens: usage.promptTokens + 12,
    };
    expect(message.usage_metadata).toMatchObject(usageMetadata);
    const { whole } = await gathered(await model.stream(prompt, options));
    expect(whole.content).toBe(text);
    expect(whole.response_metadata).toMatchObject({ finish_reason: 'length', model_name: 'tiny' });
    expect(whole.usage_metadata).toMatchObject(usageMetadata);
    expect(await model.streamEvents(prompt, options).text).toBe(text);
  });

  test('goes through chains, batches and callbacks', async () => {
    const chain = ChatPromptTemplate.fromMessages([['human', 'export interface {name} {{']])
      .pipe(model.withConfig(options))
      .pipe(new StringOutputParser());
    const { text } = await expected;
    expect(await chain.batch([{ name: 'User' }, { name: 'User' }])).toEqual([text, text]);
    const tokens: string[] = [];
    const callbacks = [{ handleLLMNewToken: (token: string) => void tokens.push(token) }];
    for await (const _ of await chain.stream({ name: 'User' }, { callbacks }));
    expect(tokens.join('')).toBe(text);
  });

  test('stops where the call or the model says', async () => {
    const { text } = await expected;
    const stop = [text[5]];
    const stopped = await model.invoke(prompt, { ...options, stop });
    expect(stopped.content).toBe(text.slice(0, text.indexOf(stop[0])));
    const short = new ChatMamba2({ llm, temperature: 0, maxTokens: 2 });
    expect((await short.invoke(prompt)).usage_metadata).toMatchObject({ output_tokens: 2 });
    expect((await short.invoke(prompt, { maxTokens: 3 })).usage_metadata).toMatchObject({ output_tokens: 3 });
  });

  test('ends when it is aborted', async () => {
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(model.invoke(prompt, { signal })).rejects.toThrow();
    const controller = new AbortController();
    const read = async () => {
      for await (const _ of await model.stream(prompt, { maxTokens: 5000, signal: controller.signal }))
        controller.abort(new Error('enough'));
    };
    await expect(read()).rejects.toThrow();
    expect(llm.engine.stats().runningRequests).toBe(0);
  });

  test('is refused where it is wrong', async () => {
    await expect(model.invoke(prompt, { temperature: -1 })).rejects.toThrow(/temperature is -1/);
    const image = [{ type: 'image_url', image_url: { url: 'data:image/png;base64,aaaa' } }];
    await expect(model.invoke([new HumanMessage({ content: image })])).rejects.toThrow(/of the type 'image_url'/);
  });

  test('is counted by its own tokenizer, and described', async () => {
    expect(await model.getNumTokens(prompt)).toBe(llm.tokenize(prompt, { addSpecialTokens: false }).length);
    expect(model.profile).toMatchObject({ toolCalling: true, structuredOutput: true, reasoningOutput: true });
    expect(model._identifyingParams()).toMatchObject({ model: 'tiny', temperature: 0 });
    expect([model._llmType(), ChatMamba2.lc_name()]).toEqual(['mamba2', 'ChatMamba2']);
  });
});

describe('structured output', () => {
  const Joke = z.object({ kind: z.enum(['type', 'interface']).describe('What it is'), rating: z.int().min(1).max(9) });
  const warm = new ChatMamba2({ llm, maxTokens: 200, seed: 1 });

  test.each(['jsonSchema', 'functionCalling'])("fits Zod's schema, by %s", async (method) => {
    const joke = await warm.withStructuredOutput(Joke, { method }).invoke(prompt);
    expect(Joke.parse(joke)).toEqual(joke);
  });

  test('fits a JSON Schema, and is streamed as it grows', async () => {
    const schema = {
      title: 'Joke',
      type: 'object',
      properties: { kind: { enum: ['``` type', '``` interface'] }, done: { type: 'boolean' } },
      required: ['kind', 'done'],
      additionalProperties: false,
    };
    const structured = new ChatMamba2({ llm, temperature: 0 }).withStructuredOutput(schema);
    const whole = await structured.invoke(prompt);
    expect(whole.kind).toMatch(/^``` /);
    const parts: object[] = [];
    for await (const part of await structured.stream(prompt)) parts.push(part);
    expect(parts.at(-1)).toEqual(whole);
    expect(parts.length).toBeGreaterThan(1);
  });

  test('comes with the message, and says where it failed', async () => {
    const { raw, parsed } = await warm.withStructuredOutput(Joke, { includeRaw: true }).invoke(prompt);
    expect(JSON.parse(String(raw.content))).toEqual(parsed);
    const never = Joke.refine(() => false, 'never good enough');
    await expect(warm.withStructuredOutput(never).invoke(prompt)).rejects.toThrow('never good enough');
    expect((await warm.withStructuredOutput(never, { includeRaw: true }).invoke(prompt)).parsed).toBeNull();
    const short = new ChatMamba2({ llm, maxTokens: 2 }).withStructuredOutput(Joke);
    await expect(short.invoke(prompt)).rejects.toThrow('maxTokens');
  });

  test('of other kinds', async () => {
    const any = await warm.withStructuredOutput({ type: 'object' }, { method: 'jsonMode' }).invoke(prompt);
    expect(typeof any).toBe('object');
    expect(() => warm.withStructuredOutput(Joke, { method: 'guess' })).toThrow(/no method 'guess'/);
  });
});

describe('answers', () => {
  let script: Script;
  beforeEach(() => {
    script = scripted(llm);
    return script.end;
  });
  const asked = () => llm.tokenizer?.decode(script.requests.at(-1)?.promptTokenIds ?? [], { skipSpecialTokens: false });

  const weather = tool(async ({ city }) => `rain in ${city}`, {
    name: 'weather',
    description: 'Weather of a city',
    schema: z.object({ city: z.string() }),
  });
  const withTools = model.bindTools([weather]);

  test('with calls go round in a loop by hand', async () => {
    script.answers.push(`I look. ${CALL}`, 'It rains in Lyon.');
    const messages: BaseMessage[] = [new HumanMessage('Rain?')];
    const first = await withTools.invoke(messages);
    expect(first.content).toBe('I look.');
    expect(first.tool_calls).toMatchObject([{ name: 'weather', args: { city: 'Lyon' }, type: 'tool_call' }]);
    messages.push(first);
    for (const call of first.tool_calls ?? []) messages.push(await weather.invoke(call));
    expect(messages.at(-1)).toBeInstanceOf(ToolMessage);
    const second = await withTools.invoke(messages);
    expect(second.text).toBe('It rains in Lyon.');
    expect(asked()).toBe(
      '<tool>weather</tool><|user|>Rain?<|assistant|>I look.<tool_call>weather {"city": "Lyon"}</tool_call><|tool|>rain in Lyon<|assistant|>',
    );
  });

  test('with calls go round in an agent', async () => {
    script.answers.push(CALL, 'It rains in Lyon.');
    const agent = createAgent({ model, tools: [weather], systemPrompt: 'Be brief.' });
    const { messages } = await agent.invoke({ messages: [{ role: 'user', content: 'Rain?' }] });
    expect(messages.map(({ type }) => type)).toEqual(['human', 'ai', 'tool', 'ai']);
    expect(messages.at(-1)?.text).toBe('It rains in Lyon.');
    expect(asked()).toContain('<|system|>Be brief.<|user|>Rain?');
  });

  test('of an agent have a form in the end', async () => {
    script.answers.push(CALL, '{"sky": "rain"}');
    const responseFormat = z.object({ sky: z.string() });
    const agent = createAgent({ model, tools: [weather], responseFormat });
    const { structuredResponse } = await agent.invoke({ messages: 'Rain?' });
    expect(structuredResponse).toEqual({ sky: 'rain' });
    expect(script.requests[0].params.structuredOutputs?.structuralTag).toBeDefined();
  });

  test('with calls are streamed', async () => {
    script.answers.push(`I look. ${CALL}\n${CALL}`);
    const { chunks, whole } = await gathered(await withTools.stream('Rain?'));
    const pieces = chunks.flatMap((chunk) => chunk.tool_call_chunks ?? []);
    expect(pieces[0]).toMatchObject({ index: 0, name: 'weather', id: expect.any(String) });
    expect(pieces.length).toBeGreaterThan(4);
    expect(whole.content).toBe('I look.');
    const call = { name: 'weather', args: { city: 'Lyon' } };
    expect(whole.tool_calls).toMatchObject([call, call]);
    expect(whole.response_metadata.finish_reason).toBe('tool_calls');
  });

  test('are streamed in blocks', async () => {
    script.answers.push(`<think>Hm.</think>I look. ${CALL}\n${CALL}`);
    const finished: unknown[] = [];
    for await (const event of model.streamEvents('Rain?', { tools: [weather] })) {
      if (event.event === 'content-block-finish') finished.push(event.content);
    }
    const call = { type: 'tool_call', name: 'weather', args: { city: 'Lyon' } };
    expect(finished).toMatchObject([
      { type: 'reasoning', reasoning: 'Hm.' },
      { type: 'text', text: 'I look.' },
      call,
      call,
    ]);
  });

  test.each([
    '<tool_call>{"name": "weather", "arguments": {"city": Lyon}}</tool_call>',
    '<tool_call>{"name": "weather", "arguments": {"city": "Ly',
    '<tool_call>{"name": "weather", "arguments": {"city": "Ly\\',
    '<tool_call>{"name": "weather", "arguments": {"city": "Ly\\u00',
    '<tool_call>{"name": "weather", "arguments": {"cities": [1',
    '<tool_call>{"name": "weather", "arguments": {"a": tru',
  ])('whose calls are malformed are text, and no calls: %s', async (broken) => {
    script.answers.push(broken, broken, broken);
    const { content, tool_calls } = await withTools.invoke('Rain?');
    expect([content, tool_calls]).toEqual([broken, []]);
    const { whole } = await gathered(await withTools.stream('Rain?'));
    expect([whole.content, whole.tool_calls]).toEqual([broken, []]);
    const message = await model.streamEvents('Rain?', { tools: [weather] });
    expect([message.text, message.tool_calls]).toEqual([broken, []]);
  });

  test('have thoughts, which can be asked for and continued', async () => {
    script.answers.push('Hm.</think>Yes.', '<think>Hm.</think>Yes.', 'x');
    const thinking = { chatTemplateKwargs: { enable_thinking: true } };
    const message = await model.invoke('Rain?', thinking);
    expect([message.content, message.additional_kwargs.reasoning_content]).toEqual(['Yes.', 'Hm.']);
    expect(asked()).toMatch(/<think>$/);
    const { whole } = await gathered(await model.stream('Rain?'));
    expect([whole.content, whole.additional_kwargs.reasoning_content]).toEqual(['Yes.', 'Hm.']);
    const blocks = new AIMessage({
      content: [
        { type: 'reasoning', reasoning: 'Hm.' },
        { type: 'text', text: 'Yes.' },
      ],
    });
    await model.invoke([new HumanMessage('Rain?'), blocks, new HumanMessage('Really?')]);
    expect(asked()).toContain('<|assistant|>Yes.<|user|>Really?');
  });

  test.each([
    ['any', { structuralTag: expect.anything() }],
    ['weather', { structuralTag: expect.anything() }],
    [{ type: 'function', function: { name: 'weather' } }, { structuralTag: expect.anything() }],
    ['auto', undefined],
  ])('are asked for with tool_choice %j', async (tool_choice, structuredOutputs) => {
    script.answers.push(CALL);
    await model.bindTools([weather], { tool_choice }).invoke('Rain?');
    expect(script.requests[0].params.structuredOutputs).toEqual(structuredOutputs);
  });

  test('have options of this model', async () => {
    script.answers.push('x');
    await model.invoke('Rain?', { minP: 0.3, cacheSalt: 'a', topK: 5, seed: 3 });
    const params = { minP: 0.3, topK: 5, seed: 3n, temperature: 0, maxTokens: 16_384 };
    expect(script.requests[0]).toMatchObject({ params, cacheSalt: 'a' });
  });
});

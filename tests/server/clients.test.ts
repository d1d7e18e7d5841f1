import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { HumanMessage, ToolMessage } from '@langchain/core/messages';
import { ChatOpenAI } from '@langchain/openai';
import { generateText, Output, stepCountIs, streamText, tool } from 'ai';
import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { TOOL_TEMPLATE } from './chat-templates.ts';
import { scripted } from './scripted-answers.ts';
import { sharedServer } from './test-server.ts';

const { llm, url } = await sharedServer({ chatTemplate: TOOL_TEMPLATE });
const script = scripted(llm);
afterEach(() => {
  const left = script.answers.splice(0);
  expect(left).toEqual([]);
});
const baseURL = `${url}/v1`;
const CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Lyon"}}\n</tool_call>';
const City = z.object({ city: z.string() });
const USER = '{"name": "Ada", "age": 36}';
const User = z.object({ name: z.string(), age: z.number() });
const question = 'Rain in Lyon?';

describe("the AI SDK's client for compatible servers", () => {
  const model = createOpenAICompatible({ name: 'mamba2', baseURL, supportsStructuredOutputs: true })('tiny-dts');

  test('lets a model call tools until it answers', async () => {
    const asked: unknown[] = [];
    const weather = tool({
      description: 'Weather of a city',
      inputSchema: City,
      execute: (city) => {
        asked.push(city);
        return 'rain';
      },
    });
    const request = { model, prompt: question, tools: { weather }, stopWhen: stepCountIs(3) };
    script.answers.push(`<think>Hm.</think>${CALL}`, 'It rains.');
    const { text, steps, totalUsage } = await generateText(request);
    expect(text).toBe('It rains.');
    expect(steps.map(({ finishReason }) => finishReason)).toEqual(['tool-calls', 'stop']);
    expect(steps[0].reasoningText).toBe('Hm.');
    expect(totalUsage.outputTokens).toBeGreaterThan(10);
    script.answers.push(`I look. ${CALL}`, 'It rains.');
    let streamed = '';
    for await (const piece of streamText(request).textStream) streamed += piece;
    expect(streamed).toBe('I look.It rains.');
    expect(asked).toEqual([{ city: 'Lyon' }, { city: 'Lyon' }]);
  });

  test('gets objects of a schema', async () => {
    script.answers.push(USER);
    const { output } = await generateText({ model, prompt: 'A user', output: Output.object({ schema: User }) });
    expect(output).toEqual({ name: 'Ada', age: 36 });
    expect(script.requests.at(-1)?.params.structuredOutputs).toHaveProperty('json.properties.age');
  });
});

describe.each([false, true])("LangChain's client, with responses: %s", (useResponsesApi) => {
  const model = new ChatOpenAI({
    model: 'tiny-dts',
    apiKey: 'none',
    maxRetries: 0,
    useResponsesApi,
    configuration: { baseURL },
  });
  const weather = { type: 'function' as const, function: { name: 'weather', parameters: z.toJSONSchema(City) } };

  test('lets a model call tools until it answers', async () => {
    script.answers.push(`I look. ${CALL}`, 'It rains.');
    const withTools = model.bindTools([weather]);
    const messages = [new HumanMessage(question)];
    const called = await withTools.invoke(messages);
    expect(called.text).toBe('I look.');
    const [{ name, args, id = '' }] = called.tool_calls ?? [];
    expect({ name, args }).toEqual({ name: 'weather', args: { city: 'Lyon' } });
    const result = new ToolMessage({ content: 'rain', tool_call_id: id });
    expect((await withTools.invoke([...messages, called, result])).text).toBe('It rains.');
    const prompt = llm.tokenizer?.decode(script.requests.at(-1)?.promptTokenIds ?? []);
    expect(prompt).toMatch(/I look\.<tool_call>\{"name": "weather".*<\|tool\|>rain for call_\w{24}/);
  });

  test('reads streams', async () => {
    script.answers.push(`<think>Hm.</think>I look. ${CALL}`);
    let text = '';
    const args: string[] = [];
    for await (const chunk of await model.bindTools([weather]).stream(question)) {
      text += chunk.text;
      args.push(...(chunk.tool_call_chunks ?? []).map((part) => part.args ?? ''));
    }
    expect(text).toBe('I look.');
    expect(JSON.parse(args.join(''))).toEqual({ city: 'Lyon' });
  });

  test('gets objects of a schema', async () => {
    script.answers.push(USER);
    const structured = model.withStructuredOutput(User, { method: 'jsonSchema', name: 'user' });
    expect(await structured.invoke('A user')).toEqual({ name: 'Ada', age: 36 });
    expect(script.requests.at(-1)?.params.structuredOutputs).toHaveProperty('json.properties.age');
  });
});

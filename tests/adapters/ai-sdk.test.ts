import { generateText, hasToolCall, jsonSchema, Output, stepCountIs, streamText, ToolLoopAgent, tool } from 'ai';
import { afterAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { mamba2 } from '../../src/adapters/ai-sdk/index.ts';
import { LLM } from '../../src/engine/llm.ts';
import { TINY_DTS } from '../cli/tiny-dts.ts';
import { type Script, scripted } from '../server/scripted-answers.ts';
import { CALL, TEMPLATE } from './chat-templates.ts';

const llm = await LLM.load(TINY_DTS, { chatTemplate: TEMPLATE });
afterAll(() => llm.dispose());

const model = mamba2(llm, { modelId: 'tiny' });
const prompt = 'export interface User {';

describe('what the model computes', () => {
  const request = { model, prompt, maxOutputTokens: 12, temperature: 0 };

  test('is the text of generateText and of streamText', async () => {
    const expected = await llm.completeChat([{ role: 'user', content: prompt }], { maxTokens: 12, temperature: 0 });
    const { text, usage, finishReason, warnings } = await generateText(request);
    expect(text).toBe(expected.text);
    expect(finishReason).toBe('length');
    expect(usage.outputTokens).toBe(12);
    expect(usage.inputTokens).toBe(expected.usage.promptTokens);
    expect(warnings).toEqual([]);
    const stream = streamText(request);
    let streamed = '';
    for await (const piece of stream.textStream) streamed += piece;
    expect(streamed).toBe(expected.text);
    expect((await stream.usage).outputTokens).toBe(12);
  });

  test('has the form of a schema', async () => {
    const schema = jsonSchema<{ kind: string }>({
      type: 'object',
      properties: { kind: { enum: ['type', 'interface'] } },
      required: ['kind'],
      additionalProperties: false,
    });
    const { output } = await generateText({ model, prompt, maxOutputTokens: 200, output: Output.object({ schema }) });
    expect(['type', 'interface']).toContain(output.kind);
  });

  test('has the forms of outputs', async () => {
    const options = { model, prompt, maxOutputTokens: 300, temperature: 0.5, seed: 1 };
    const choice = Output.choice({ options: ['type', 'interface'] });
    expect(['type', 'interface']).toContain((await generateText({ ...options, output: choice })).output);
    const element = z.object({ kind: z.enum(['type', 'interface']), id: z.int().min(0).max(9) });
    // Its text says nothing of a length, so the model may go on: what is whole by then is read.
    const { partialOutputStream } = streamText({ ...options, output: Output.array({ element }) });
    let last: unknown[] = [];
    for await (const partial of partialOutputStream) last = partial;
    for (const each of last) expect(element.parse(each)).toEqual(each);
    const schema = z.object({ kind: z.enum(['type', 'interface']) });
    const streamed = streamText({ ...options, output: Output.object({ schema }) });
    const partials: unknown[] = [];
    for await (const partial of streamed.partialOutputStream) partials.push(partial);
    expect(partials.at(-1)).toEqual(await streamed.output);
  });

  test('ends when it is aborted', async () => {
    const controller = new AbortController();
    const asked = generateText({ ...request, maxOutputTokens: 5000, abortSignal: controller.signal });
    controller.abort(new Error('enough'));
    await expect(asked).rejects.toThrow('enough');
    const later = new AbortController();
    const onAbort = vi.fn();
    const stream = streamText({ ...request, maxOutputTokens: 5000, abortSignal: later.signal, onAbort });
    const kinds: string[] = [];
    for await (const { type } of stream.fullStream) {
      kinds.push(type);
      if (type === 'text-delta') later.abort();
    }
    expect(kinds.at(-1)).toBe('abort');
    expect(onAbort).toHaveBeenCalledOnce();
    await vi.waitFor(() => expect(llm.engine.stats().runningRequests).toBe(0));
  });

  test('is refused where it is wrong', async () => {
    await expect(generateText({ ...request, temperature: -1 })).rejects.toThrow(/temperature is -1/);
    const image = [{ role: 'user' as const, content: [{ type: 'image' as const, image: new Uint8Array([137, 80]) }] }];
    await expect(generateText({ model, messages: image })).rejects.toThrow(/a part of the type 'file'/);
  });
});

describe('answers', () => {
  let script: Script;
  beforeEach(() => {
    script = scripted(llm);
    return script.end;
  });
  const tools = {
    weather: tool({
      description: 'Weather of a city',
      inputSchema: jsonSchema<{ city: string }>({ type: 'object', properties: { city: { type: 'string' } } }),
      execute: async ({ city }) => ({ city, sky: 'rain' }),
    }),
  };
  const asked = () => llm.tokenizer?.decode(script.requests.at(-1)?.promptTokenIds ?? [], { skipSpecialTokens: false });

  test('with calls go round until there are none', async () => {
    script.answers.push(`I look. ${CALL}`, 'It rains in Lyon.');
    const { text, steps } = await generateText({ model, prompt: 'Rain?', tools, stopWhen: stepCountIs(3) });
    expect(text).toBe('It rains in Lyon.');
    expect(steps[0].toolCalls).toMatchObject([{ toolName: 'weather', input: { city: 'Lyon' } }]);
    expect(steps[0].finishReason).toBe('tool-calls');
    expect(asked()).toBe(
      '<tool>weather</tool><|user|>Rain?<|assistant|>I look.<tool_call>weather {"city": "Lyon"}</tool_call><|tool|>{"city":"Lyon","sky":"rain"}<|assistant|>',
    );
  });

  test('with calls are streamed', async () => {
    script.answers.push(`I look. ${CALL}\n${CALL}`, 'It rains.');
    const parts: string[] = [];
    const result = streamText({ model, prompt: 'Rain?', tools, stopWhen: stepCountIs(3) });
    for await (const part of result.fullStream) if (part.type !== parts.at(-1)) parts.push(part.type);
    expect(await result.text).toBe('It rains.');
    const call = ['tool-input-start', 'tool-input-delta', 'tool-input-end', 'tool-call'];
    const kinds = parts.filter((type) => call.includes(type) || type.startsWith('text'));
    expect(kinds.slice(0, 7)).toEqual(['text-start', 'text-delta', 'text-end', ...call]);
    expect(kinds.filter((type) => type === 'tool-call')).toHaveLength(2);
  });

  test('with calls end the loop where the program says', async () => {
    script.answers.push(CALL, 'unused');
    const stopWhen = [stepCountIs(5), hasToolCall('weather')];
    const { steps, finishReason } = await generateText({ model, prompt: 'Rain?', tools, stopWhen });
    expect([steps.length, finishReason]).toEqual([1, 'tool-calls']);
    expect(steps[0].toolResults).toMatchObject([{ output: { city: 'Lyon', sky: 'rain' } }]);
  });

  test('are JSON where no schema says more', async () => {
    script.answers.push('{"a": 1}');
    const { output } = await generateText({ model, prompt: 'Rain?', output: Output.json() });
    expect(output).toEqual({ a: 1 });
    expect(script.requests[0].params.structuredOutputs).toEqual({ jsonObject: true });
  });

  test('with calls have a form in the end', async () => {
    script.answers.push(CALL, '{"sky": "rain"}');
    const output = Output.object({ schema: z.object({ sky: z.string() }) });
    const options = { model, prompt: 'Rain?', tools, output, stopWhen: stepCountIs(5) };
    expect((await generateText(options)).output).toEqual({ sky: 'rain' });
    expect(script.requests[0].params.structuredOutputs?.structuralTag).toBeDefined();
  });

  test('go round in an agent, whose tools may fail', async () => {
    script.answers.push(CALL, 'I can not say.', 'Nor now.');
    const failing = tool({ ...tools.weather, execute: () => Promise.reject(new Error('no network')) });
    const agent = new ToolLoopAgent({ model, instructions: 'Be brief.', tools: { weather: failing } });
    const { text, response } = await agent.generate({ prompt: 'Rain?' });
    expect(text).toBe('I can not say.');
    expect(asked()).toMatch(/^<tool>weather<\/tool><\|system\|>Be brief.<\|user\|>Rain\?.*<\|tool\|>.*no network/);
    const messages = [...response.messages, { role: 'user' as const, content: 'And now?' }];
    expect(await (await agent.stream({ messages })).text).toBe('Nor now.');
    expect(asked()).toMatch(/I can not say.<\|user\|>And now\?<\|assistant\|>$/);
  });

  test.each([
    ['required', { structuralTag: expect.anything() }],
    [{ type: 'tool', toolName: 'weather' } as const, { structuralTag: expect.anything() }],
    ['none', undefined],
    ['auto', undefined],
  ] as const)('are asked for with toolChoice %j', async (toolChoice, structuredOutputs) => {
    script.answers.push(structuredOutputs ? CALL : 'x');
    await generateText({ model, prompt: 'Rain?', tools, toolChoice });
    expect(script.requests[0].params.structuredOutputs).toEqual(structuredOutputs);
  });

  test('whose calls are malformed are text', async () => {
    const broken = '<tool_call>{"name": "weather", "arguments": {"city": Lyon}}</tool_call>';
    script.answers.push(broken, broken);
    const { text, finishReason } = await generateText({ model, prompt: 'Rain?', tools });
    expect([text, finishReason]).toEqual([broken, 'stop']);
    const stream = streamText({ model, prompt: 'Rain?', tools });
    expect(await stream.text).toBe(broken);
    expect(await stream.toolCalls).toEqual([]);
  });

  test('have thoughts, which can be asked for', async () => {
    script.answers.push('Hm.</think>Yes.', '<think>Hm.</think>Yes.');
    const { text, reasoningText, usage } = await generateText({ model, prompt: 'Rain?', reasoning: 'high' });
    expect([text, reasoningText]).toEqual(['Yes.', 'Hm.']);
    expect(asked()).toMatch(/<think>$/);
    expect(usage.outputTokenDetails.reasoningTokens).toBeGreaterThan(0);
    const stream = streamText({ model, prompt: 'Rain?' });
    expect(await stream.reasoningText).toBe('Hm.');
    expect(await stream.text).toBe('Yes.');
  });

  test('have options of this model', async () => {
    script.answers.push('x');
    await generateText({ model, prompt: 'Rain?', providerOptions: { mamba2: { minP: 0.3, cacheSalt: 'a' } } });
    expect(script.requests[0]).toMatchObject({ params: { minP: 0.3, maxTokens: 16_384 }, cacheSalt: 'a' });
  });

  test('have warnings about options that this model lacks', async () => {
    script.answers.push('x');
    const providerOptions = { mamba2: { min_p: 0.3, cacheSalt: 'a' } };
    const { warnings } = await generateText({ model, prompt: 'Rain?', providerOptions });
    const details = "There is no such option. Did you mean 'minP'?";
    expect(warnings).toEqual([{ type: 'unsupported', feature: 'providerOptions.mamba2.min_p', details }]);
    expect(script.requests[0]).toMatchObject({ params: { minP: 0 }, cacheSalt: 'a' });
  });
});

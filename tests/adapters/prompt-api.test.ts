import { afterAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { type LanguageModelMessage, promptApi, QuotaExceededError } from '../../src/adapters/prompt-api/index.ts';
import { LLM } from '../../src/engine/llm.ts';
import { TINY_DTS } from '../cli/tiny-dts.ts';
import { type Script, scripted } from '../server/scripted-answers.ts';
import { CALL, TEMPLATE } from './chat-templates.ts';

const load = () => LLM.load(TINY_DTS, { chatTemplate: TEMPLATE, enablePrefixCaching: false });
const llm = await load();
afterAll(() => llm.dispose());
const LanguageModel = promptApi(llm);

const system = { role: 'system', content: 'export declare class A {' } as const;
const greedy = { temperature: 0 } as const;
/** Answers of the tiny model do not end by themselves. */
const short = { responseConstraint: /[a-z ]{6}/, omitResponseConstraintInput: true };

async function answerOf(messages: readonly LanguageModelMessage[]): Promise<string> {
  const given = messages.map(({ role, content }) => ({ role, content: String(content) }));
  const structuredOutputs = { regex: '[a-z ]{6}' };
  return (await llm.completeChat(given, { ...greedy, structuredOutputs })).text;
}

async function textOf(stream: ReadableStream<string>): Promise<string> {
  let text = '';
  for await (const piece of stream) text += piece;
  return text;
}

describe('a session', () => {
  test('answers as the model does to the whole conversation, whole and streamed', async () => {
    const session = await LanguageModel.create({ ...greedy, initialPrompts: [system] });
    const messages: LanguageModelMessage[] = [system];
    for (const content of ['name', 'type', 'interface']) {
      messages.push({ role: 'user', content });
      const expected = await answerOf(messages);
      const isStreamed = content === 'type';
      const answer = isStreamed ? textOf(session.promptStreaming(content, short)) : session.prompt(content, short);
      expect(await answer).toBe(expected);
      messages.push({ role: 'assistant', content: expected });
    }
    session.destroy();
  });

  test('costs only what is new, and so do its clones', async () => {
    const long = { role: 'user', content: 'export interface User { name: string; }\n'.repeat(20) } as const;
    const session = await LanguageModel.create({ ...greedy, initialPrompts: [system, long] });
    const before = llm.engine.stats().prefillTokens;
    expect(session.contextUsage).toBeGreaterThan(200);
    const clone = await session.clone();
    const answers = await Promise.all([session.prompt('type', short), clone.prompt('class', short)]);
    expect(llm.engine.stats().prefillTokens - before).toBeLessThan(40);
    const of = (content: string) => answerOf([system, long, { role: 'user', content }]);
    expect(answers).toEqual([await of('type'), await of('class')]);
    session.destroy();
    expect(await clone.prompt('type', short)).toMatch(/^[a-z ]{6}$/);
    clone.destroy();
  });

  test('takes messages before they are answered, and answers in their order', async () => {
    const session = await LanguageModel.create(greedy);
    const appended = session.append([{ role: 'user', content: 'export' }]);
    const streamed = textOf(session.promptStreaming('first', short));
    const second = session.prompt('second', short);
    await appended;
    const messages: LanguageModelMessage[] = [
      { role: 'user', content: 'export' },
      { role: 'user', content: 'first' },
    ];
    const first = await answerOf(messages);
    expect(await streamed).toBe(first);
    messages.push({ role: 'assistant', content: first }, { role: 'user', content: 'second' });
    expect(await second).toBe(await answerOf(messages));
    session.destroy();
  });

  test('counts tokens', async () => {
    const session = await LanguageModel.create({ ...greedy, initialPrompts: [system] });
    const count = await session.measureContextUsage('type');
    expect(count).toBeGreaterThan(1);
    expect(await session.measureInputUsage('type')).toBe(count);
    expect(await session.measureContextUsage('type', { responseConstraint: { type: 'object' } })).toBeGreaterThan(
      count,
    );
    const before = session.contextUsage;
    await session.prompt('type', short);
    expect(session.contextUsage).toBeGreaterThanOrEqual(before + count);
    expect([session.inputUsage, session.inputQuota]).toEqual([session.contextUsage, session.contextWindow]);
    expect(session.contextWindow).toBe(Number.POSITIVE_INFINITY);
    session.destroy();
  });

  test('continues a prefix', async () => {
    const session = await LanguageModel.create({ ...greedy, initialPrompts: [system] });
    const prefix = { role: 'assistant', content: 'name: ', prefix: true } as const;
    const user = { role: 'user', content: 'type' } as const;
    const options = { ...greedy, structuredOutputs: { regex: '[a-z ]{6}' }, continueFinalMessage: true };
    const expected = await llm.completeChat([system, user, { role: 'assistant', content: 'name: ' }], options);
    expect(await session.prompt([user, prefix], short)).toBe(expected.text);
    const next = await answerOf([system, user, { role: 'assistant', content: `name: ${expected.text}` }, user]);
    expect(await session.prompt('type', short)).toBe(next);
    session.destroy();
  });

  test('has answers in the form of a schema or a regular expression', async () => {
    const session = await LanguageModel.create();
    const schema = {
      type: 'object',
      required: ['rating'],
      additionalProperties: false,
      properties: { rating: { type: 'integer', minimum: 0, maximum: 5 } },
    };
    const { rating } = JSON.parse(await session.prompt('Rate it.', { responseConstraint: schema }));
    expect([0, 1, 2, 3, 4, 5]).toContain(rating);
    expect(await session.prompt('Name it.', { responseConstraint: /^[a-z]{3}@[a-z]{3}$/ })).toMatch(/^\w{3}@\w{3}$/);
    session.destroy();
  });
});

describe('an abort', () => {
  test('undoes a prompt, running, streamed or waiting, and nothing else', async () => {
    const session = await LanguageModel.create({ ...greedy, initialPrompts: [system] });
    const { contextUsage } = session;
    const controller = new AbortController();
    const running = session.prompt('type', { signal: controller.signal });
    const waiting = session.prompt('class', { signal: AbortSignal.timeout(30) });
    const last = session.prompt('type', short);
    const settled = Promise.allSettled([running, waiting]);
    await new Promise((resolve) => setTimeout(resolve, 60));
    controller.abort(new Error('enough'));
    expect(await settled).toMatchObject([{ reason: new Error('enough') }, { reason: { name: 'TimeoutError' } }]);
    expect(await last).toBe(await answerOf([system, { role: 'user', content: 'type' }]));
    const usage = session.contextUsage;
    expect(usage).toBeGreaterThan(contextUsage);
    for await (const _ of session.promptStreaming('class')) break;
    expect(await session.prompt('class', { ...short, signal: undefined })).toHaveLength(6);
    await expect(session.prompt('x', { signal: AbortSignal.abort() })).rejects.toThrow(/abort/i);
    session.destroy();
    expect(llm.engine.stats().runningRequests).toBe(0);
  });

  test('of its signal, or destroy, ends the session', async () => {
    const controller = new AbortController();
    const session = await LanguageModel.create({ signal: controller.signal });
    const ended = expect(session.prompt('type')).rejects.toThrow('over');
    await new Promise((resolve) => setTimeout(resolve, 20));
    controller.abort(new Error('over'));
    await ended;
    const other = await LanguageModel.create();
    const stream = textOf(other.promptStreaming('type'));
    other.destroy();
    await expect(stream).rejects.toMatchObject({ name: 'AbortError' });
    for (const refused of [other.prompt('x'), other.append('x'), other.clone(), other.measureContextUsage('x')]) {
      await expect(refused).rejects.toMatchObject({ name: 'AbortError' });
    }
    await expect(LanguageModel.create({ signal: AbortSignal.abort() })).rejects.toThrow(/abort/i);
  });
});

test('a stream can be iterated where the browser has no such streams', async () => {
  const { [Symbol.asyncIterator]: own } = ReadableStream.prototype;
  Reflect.deleteProperty(ReadableStream.prototype, Symbol.asyncIterator);
  onTestFinished(() => {
    Reflect.set(ReadableStream.prototype, Symbol.asyncIterator, own);
  });
  const session = await LanguageModel.create(greedy);
  expect(await textOf(session.promptStreaming('type', short))).toHaveLength(6);
  const { contextUsage } = session;
  for await (const _ of session.promptStreaming('class')) break;
  expect(await session.prompt('class', short)).toHaveLength(6);
  expect(session.contextUsage).toBeLessThan(contextUsage + 40);
  session.destroy();
});

describe('what is wrong is refused, and changes nothing', () => {
  test.each<[string, readonly LanguageModelMessage[], object]>([
    ['a system prompt that is late', [{ role: 'user', content: 'a' }, system], { name: 'TypeError' }],
    ['a system prompt after others', [system], { name: 'TypeError' }],
    ['a prefix of the user', [{ role: 'user', content: 'a', prefix: true }], { name: 'SyntaxError' }],
    ['an image', [{ role: 'user', content: [{ type: 'image', value: 1 }] }], { name: 'NotSupportedError' }],
    ['a text that is none', [{ role: 'user', content: [{ type: 'text', value: 1 }] }], { name: 'TypeError' }],
    ['a role that is unknown', [{ role: 'owner' as 'user', content: 'a' }], { name: 'TypeError' }],
  ])('%s', async (_, input, error) => {
    const session = await LanguageModel.create({ initialPrompts: [system] });
    const { contextUsage } = session;
    await expect(session.prompt(input)).rejects.toMatchObject(error);
    await expect(session.append(input)).rejects.toMatchObject(error);
    await expect(textOf(session.promptStreaming(input))).rejects.toMatchObject(error);
    expect(session.contextUsage).toBe(contextUsage);
    session.destroy();
  });

  test('forms and options', async () => {
    const session = await LanguageModel.create();
    const omit = { omitResponseConstraintInput: true };
    await expect(session.prompt('x', omit)).rejects.toThrow(TypeError);
    await expect(session.prompt('x', { responseConstraint: [] })).rejects.toThrow(TypeError);
    await expect(session.prompt('x', { responseConstraint: { not: {} } })).rejects.toThrow("'not'");
    session.destroy();
    await expect(LanguageModel.create({ temperature: -1 })).rejects.toThrow(RangeError);
    await expect(LanguageModel.create({ topK: 0 })).rejects.toThrow(RangeError);
    await expect(LanguageModel.create({ topK: 1, samplingMode: 'creative' })).rejects.toThrow(TypeError);
    const image = { expectedInputs: [{ type: 'image' }] } as const;
    await expect(LanguageModel.create(image)).rejects.toMatchObject({ name: 'NotSupportedError' });
    expect(await LanguageModel.availability(image)).toBe('unavailable');
    const languages = { expectedInputs: [{ type: 'text', languages: ['not a tag'] }] } as const;
    await expect(LanguageModel.availability(languages)).rejects.toThrow(RangeError);
  });
});

test('sampling is the model’s own, of a mode, or raw', async () => {
  const { vocabSize } = llm.config;
  const params = { defaultTopK: vocabSize, maxTopK: vocabSize, defaultTemperature: 1, maxTemperature: 2 };
  expect(await LanguageModel.params()).toEqual(params);
  const of = async (options: object) => {
    const { temperature, topK, samplingMode } = await LanguageModel.create(options);
    return { temperature, topK, samplingMode };
  };
  expect(await of({})).toEqual({ temperature: 1, topK: vocabSize, samplingMode: 'default' });
  expect(await of({ samplingMode: 'most-predictable' })).toMatchObject({ temperature: 0 });
  const infinite = Number.POSITIVE_INFINITY;
  expect(await of({ temperature: infinite, topK: infinite })).toMatchObject({ temperature: 2, topK: vocabSize });
  expect(await of({ temperature: 0.5, topK: 3.7 })).toMatchObject({ temperature: 0.5, topK: 3 });
});

test('a conversation that outgrows its window loses its oldest turns, but not its beginning', async () => {
  const small = await LLM.load(TINY_DTS, { chatTemplate: TEMPLATE, maxModelLen: 80 });
  const session = await promptApi(small).create({ ...greedy, initialPrompts: [system] });
  expect(session.contextWindow).toBe(80);
  const listener = vi.fn();
  session.addEventListener('contextoverflow', listener);
  session.oncontextoverflow = listener;
  session.onquotaoverflow = listener;
  for (let i = 0; i < 12 && listener.mock.calls.length === 0; i++) await session.prompt(`type ${i}`, short);
  expect(listener).toHaveBeenCalledTimes(3);
  expect(session.contextUsage).toBeLessThanOrEqual(80);
  const tooLong = session.prompt('type '.repeat(200));
  await expect(tooLong).rejects.toThrow(QuotaExceededError);
  await expect(tooLong).rejects.toMatchObject({ name: 'QuotaExceededError', quota: 80 });
  expect(await session.prompt('type', short)).toHaveLength(6);
  const initialPrompts = [{ role: 'user', content: 'type '.repeat(200) }] as const;
  await expect(promptApi(small).create({ initialPrompts })).rejects.toThrow(QuotaExceededError);
  await small.dispose();
});

test('a model is loaded with the first session, and tells of it', async () => {
  const Lazy = promptApi(TINY_DTS, { chatTemplate: TEMPLATE });
  expect(await Lazy.availability()).toBe('downloadable');
  const loaded: number[] = [];
  const creating = Lazy.create({
    monitor: (monitor) =>
      monitor.addEventListener('downloadprogress', (event) => loaded.push((event as ProgressEvent).loaded)),
  });
  expect(await Lazy.availability()).toBe('downloading');
  const session = await creating;
  expect([loaded[0], loaded.at(-1)]).toEqual([0, 1]);
  expect(loaded).toEqual(loaded.toSorted((a, b) => a - b));
  expect(await Lazy.availability()).toBe('available');
  expect(await session.prompt('type', short)).toHaveLength(6);
  await Lazy.dispose();
  const missing = promptApi('no-such-model');
  await expect(missing.create()).rejects.toThrow('no-such-model');
  expect(await missing.availability()).toBe('downloadable');
});

describe('tools', () => {
  let script: Script;
  beforeEach(() => {
    script = scripted(llm);
    return script.end;
  });
  const weather = (execute: (args: Record<string, unknown>) => Promise<string>) => ({
    name: 'weather',
    description: 'Weather of a city',
    inputSchema: { type: 'object', properties: { city: { type: 'string' } } },
    execute,
  });
  const asked = () => llm.tokenizer?.decode(script.requests.at(-1)?.promptTokenIds ?? [], { skipSpecialTokens: false });

  test('are called, several at once, before the model answers', async () => {
    script.answers.push(`${CALL}\n${CALL.replace('Lyon', 'Turin')}`, 'Rain and sun.');
    const execute = vi.fn(async ({ city }: Record<string, unknown>) => (city === 'Lyon' ? 'rain' : 'sun'));
    const session = await LanguageModel.create({ tools: [weather(execute)] });
    expect(await session.prompt('Weather?')).toBe('Rain and sun.');
    expect(execute.mock.calls).toEqual([[{ city: 'Lyon' }], [{ city: 'Turin' }]]);
    expect(asked()).toBe(
      '<tool>weather</tool><|user|>Weather?<|assistant|><tool_call>weather {"city": "Lyon"}</tool_call><tool_call>weather {"city": "Turin"}</tool_call><|tool|>rain<|tool|>sun<|assistant|>',
    );
  });

  test('that fail fail the prompt, which is undone', async () => {
    script.answers.push(CALL, 'Yes.');
    const execute = () => Promise.reject(new Error('no network'));
    const session = await LanguageModel.create({ tools: [weather(execute)] });
    await expect(session.prompt('Weather?')).rejects.toThrow('no network');
    expect(await session.prompt('Really?')).toBe('Yes.');
    expect(asked()).toBe('<tool>weather</tool><|user|>Really?<|assistant|>');
  });

  test('that are called without end are stopped', async () => {
    script.answers.push(...new Array(100).fill(CALL));
    const session = await LanguageModel.create({ tools: [weather(async () => 'rain')] });
    await expect(session.prompt('Weather?')).rejects.toMatchObject({ name: 'OperationError' });
  });
});

import { afterAll, describe, expect, test } from 'vitest';
import type { ChatOptions } from '../../../src/engine/chat/chat-options.ts';
import { LLM } from '../../../src/engine/llm.ts';
import type { LogitsProcessor } from '../../../src/engine/sample/logits-processor.ts';
import type { Tool } from '../../../src/text/parsers/tool-definition.ts';
import { TINY_DTS } from '../../cli/tiny-dts.ts';
import { few } from '../../runs.ts';

const chatTemplate = [
  '{% for t in tools or [] %}{{ t.function.name }} {% endfor %}{% for m in messages %}{{ m.content }}{% endfor %}',
  '{# </think> #}{% if enable_thinking is defined %}{{ "<think>" if enable_thinking else "<think></think>" }}{% endif %}',
].join('');
const llm = await LLM.load(TINY_DTS, { chatTemplate });
afterAll(() => llm.dispose());

const tools: Tool[] = ['weather', 'news'].map((name) => ({
  type: 'function',
  function: {
    name,
    parameters: {
      type: 'object',
      properties: { city: { enum: ['Lyon', 'Turin'] }, days: { type: 'integer', minimum: 1, maximum: 9 } },
      required: ['city', 'days'],
      additionalProperties: false,
    },
  },
}));

async function ask(options: ChatOptions) {
  const answer = await llm.completeChat([{ role: 'user', content: 'Rain?' }], { tools, maxTokens: 200, ...options });
  const calls = answer.toolCalls.map(({ function: { name, arguments: json } }) => ({
    name,
    arguments: JSON.parse(json),
  }));
  return { ...answer, calls };
}

const off = { chatTemplateKwargs: { enable_thinking: false } };
const names = ['granite4', 'qwen3_xml', 'hermes', 'falcon_h1', 'nemotron_json', 'mistral'];

describe.each(few(names, 2))('calls in the form %s', (toolCallParser) => {
  test('come where they must, with the arguments that they must have', async () => {
    for (const seed of [1, 2, 3]) {
      const { calls, text, finishReason } = await ask({ ...off, toolCallParser, toolChoice: 'required', seed });
      // The last of many calls may be cut off.
      if (finishReason !== 'length') expect(text).toBe('');
      expect(calls.length).toBeGreaterThan(0);
      for (const { name, arguments: given } of calls) {
        expect(['weather', 'news']).toContain(name);
        expect(['Lyon', 'Turin']).toContain(given.city);
        expect(given.days).toBeGreaterThanOrEqual(1);
      }
    }
    const toolChoice = { type: 'function', function: { name: 'news' } } as const;
    const one = await ask({ ...off, toolCallParser, toolChoice, seed: 4 });
    expect(one).toMatchObject({ text: '', finishReason: 'tool_calls', calls: [{ name: 'news' }] });
    expect(one.calls).toHaveLength(1);
  });
});

test('thoughts come before calls that must come', async () => {
  const { reasoning, calls, text } = await ask({
    chatTemplateKwargs: { enable_thinking: true },
    thinkingTokenBudget: 8,
    toolCallParser: 'hermes',
    toolChoice: 'required',
    parallelToolCalls: false,
    seed: 1,
  });
  expect(reasoning).not.toBe('');
  expect(text).toBe('');
  expect(calls).toHaveLength(1);
});

test('strict functions leave the model free until it opens a call', async () => {
  const strict = tools.map((tool) => ({ ...tool, function: { ...tool.function, strict: true } }));
  const free = await ask({ ...off, tools, toolCallParser: 'hermes', temperature: 0, maxTokens: 30 });
  const answer = await ask({ ...off, tools: strict, toolCallParser: 'hermes', temperature: 0, maxTokens: 30 });
  expect(answer.tokenIds).toEqual(free.tokenIds);
});

test('several calls come only where they may', async () => {
  const options = {
    ...off,
    toolCallParser: 'hermes',
    toolChoice: 'required',
    parallelToolCalls: false,
    seed: 1,
  } as const;
  expect((await ask(options)).calls).toHaveLength(1);
});

describe('tools next to another form leave the choice', () => {
  test.each([
    { json: { type: 'object', properties: { rain: { type: 'boolean' } }, required: ['rain'] } },
    { json: '{"enum": [true]}' },
    { jsonObject: true as const },
    { regex: '[a-c]{3}' },
    { choice: ['yes', 'no'] },
    { grammar: 'root ::= "it rains" | "it pours"' },
    { structuralTag: { type: 'structural_tag', format: { type: 'const_string', value: 'No.' } } },
  ])('%j', async (structuredOutputs) => {
    const strict = tools.map((tool) => ({ ...tool, function: { ...tool.function, strict: true } }));
    const [call] = llm.tokenize('<', { addSpecialTokens: false });
    /** Says whether the answer begins with a call. */
    const begins = (added: number): LogitsProcessor => {
      return (tokenIds, logits, { numPromptTokens }) => {
        if (tokenIds.length === numPromptTokens) logits[call] += added;
      };
    };
    const options = { ...off, tools: strict, toolCallParser: 'hermes', structuredOutputs };
    const called = await ask({ ...options, logitsProcessors: [begins(100)] });
    expect(called.text).toBe('');
    expect(called.calls).toHaveLength(1);
    const free = await ask({ ...options, logitsProcessors: [begins(-100)], maxTokens: 30 });
    expect(free.calls).toEqual([]);
    expect(free.text).toMatch(/^[{tabcyniN]/);
  });
});

import { describe, expect, it } from 'vitest';
import { ChatTemplateError, JsonFileError } from '../../src/errors.ts';
import { ChatTemplate } from '../../src/text/chat-template.ts';
import { makeFolder } from '../checkpoint/folders.ts';

const CHATML = `{%- for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}`;
const messages = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: 'Hi' },
];

describe('render', () => {
  it('writes ChatML', () => {
    const turns = '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n';
    const template = new ChatTemplate(CHATML);
    expect(template.render(messages)).toBe(`${turns}<|im_start|>assistant\n`);
    expect(template.render(messages, { addGenerationPrompt: false })).toBe(turns);
  });

  it('passes tokens and tools', () => {
    const template = new ChatTemplate(
      '{{ bos_token }}{% if tools is not none %}{{ tools[0].name }}{% else %}none{% endif %}{{ eos_token }}',
    );
    expect(template.render([])).toBe('none');
    expect(template.render([], { bosToken: '<s>', eosToken: '</s>', tools: [{ name: 'f' }] })).toBe('<s>f</s>');
  });

  it("fails with the template's own words", () => {
    const template = new ChatTemplate("{{ raise_exception('Roles must alternate!') }}");
    expect(() => template.render(messages)).toThrow(ChatTemplateError);
    expect(() => template.render(messages)).toThrow(/Roles must alternate!.*order/);
    expect(() => new ChatTemplate('{{ messages | nofilter }}').render([])).toThrow(ChatTemplateError);
    expect(() => new ChatTemplate('{% for %}')).toThrow(/can't be parsed/);
  });
});

describe('fromFolder', () => {
  const named = [
    { name: 'tool_use', template: 'tools' },
    { name: 'default', template: 'plain' },
  ];

  it.each<[string, Record<string, unknown>, string]>([
    ['chat_template.jinja', { 'chat_template.jinja': 'a', 'chat_template.json': { chat_template: 'b' } }, 'a'],
    [
      'chat_template.json',
      { 'chat_template.json': { chat_template: 'b' }, 'tokenizer_config.json': { chat_template: 'c' } },
      'b',
    ],
    ['tokenizer_config.json', { 'chat_template.json': {}, 'tokenizer_config.json': { chat_template: 'c' } }, 'c'],
    ['the default of several', { 'tokenizer_config.json': { chat_template: named } }, 'plain'],
  ])('reads %s', async (_, files, text) => {
    expect((await ChatTemplate.fromFolder(await makeFolder(files)))?.render([])).toBe(text);
  });

  it.each([{}, { 'tokenizer_config.json': {} }, { 'tokenizer_config.json': { chat_template: null } }])(
    'finds none in %j',
    async (files) => {
      expect(await ChatTemplate.fromFolder(await makeFolder(files))).toBeUndefined();
    },
  );

  it('rejects malformed files', async () => {
    for (const chat_template of [3, [], named.slice(0, 1), [{ name: 'default', template: 1 }], {}]) {
      const folder = await makeFolder({ 'tokenizer_config.json': { chat_template } });
      await expect(ChatTemplate.fromFolder(folder)).rejects.toThrow(ChatTemplateError);
    }
    await expect(ChatTemplate.fromFolder(await makeFolder({ 'chat_template.json': '{' }))).rejects.toThrow(
      JsonFileError,
    );
  });
});

import { describe, expect, test } from 'vitest';
import { ChatTemplateError } from '../../src/errors.ts';
import { type ChatMessage, ChatTemplate } from '../../src/text/chat/chat-template.ts';
import { makeFolder } from '../checkpoint/folders.ts';

const CHATML = `{%- for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}`;
const messages = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: 'Hi' },
];

describe('render', () => {
  test('writes ChatML', () => {
    const turns = '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n';
    const template = new ChatTemplate(CHATML);
    expect(template.render(messages)).toBe(`${turns}<|im_start|>assistant\n`);
    expect(template.render(messages, { addGenerationPrompt: false })).toBe(turns);
  });

  test('passes tokens and tools', () => {
    const template = new ChatTemplate(
      '{{ bos_token }}{% if tools is not none %}{{ tools[0].name }}{% else %}none{% endif %}{{ eos_token }}',
    );
    expect(template.render([])).toBe('none');
    expect(template.render([], { bosToken: '<s>', eosToken: '</s>', tools: [{ name: 'f' }] })).toBe('<s>f</s>');
    const namedTokens = new Map([
      ['bos_token', '<b>'],
      ['pad_token', '<p>'],
      ['messages', 'x'],
    ]);
    const named = new ChatTemplate('{{ bos_token }}{{ pad_token }}{{ messages | length }}');
    expect(named.render([], { namedTokens })).toBe('<b><p>0');
    expect(named.render([], { namedTokens, bosToken: '<s>' })).toBe('<s><p>0');
  });

  test("fails with the template's own words", () => {
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

  test.each<[string, Record<string, unknown>, string]>([
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

  test.each([
    {},
    { 'tokenizer_config.json': {} },
    { 'tokenizer_config.json': { chat_template: null } },
    { 'tokenizer_config.json': { chat_template: '' } },
    { 'chat_template.jinja': '\n' },
  ])('finds none in %j', async (files) => {
    expect(await ChatTemplate.fromFolder(await makeFolder(files))).toBeUndefined();
  });

  test('takes the template for tools where there is one', async () => {
    const inConfig = await makeFolder({ 'tokenizer_config.json': { chat_template: named } });
    const inFiles = await makeFolder({
      'chat_template.jinja': 'plain',
      'additional_chat_templates/tool_use.jinja': 'tools',
    });
    for (const folder of [inConfig, inFiles]) {
      const template = await ChatTemplate.fromFolder(folder);
      expect(template?.render([])).toBe('plain');
      expect(template?.render([], { tools: [{ name: 'f' }] })).toBe('tools');
    }
  });

  test('may have one for tools that can not be parsed, which concerns requests with tools only', async () => {
    const folder = await makeFolder({
      'chat_template.jinja': '\uFEFFplain',
      'additional_chat_templates/tool_use.jinja': '{% for %}',
    });
    const template = await ChatTemplate.fromFolder(folder);
    expect(template?.problem).toBeUndefined();
    expect(template?.render([])).toBe('plain');
    expect(() => template?.render([], { tools: [] })).toThrow(/can't be parsed/);
  });

  test.each<[string, Record<string, unknown>, RegExp]>([
    ['a number', { 'tokenizer_config.json': { chat_template: 3 } }, /is 3, expected a string or a list/],
    ['an empty list', { 'tokenizer_config.json': { chat_template: [] } }, /with the template 'default'/],
    ['no default', { 'tokenizer_config.json': { chat_template: named.slice(0, 1) } }, /with the template 'default'/],
    [
      'a default that is none',
      { 'tokenizer_config.json': { chat_template: [{ name: 'default', template: 1 }] } },
      /'default'/,
    ],
    ['no Jinja', { 'chat_template.jinja': 'a\n{% for %}' }, /can't be parsed: .* \(line 2 of the template\)/],
    ['no JSON', { 'chat_template.json': '{' }, /chat_template.json is not valid JSON/],
  ])('says why it is unusable when it is used: %s', async (_, files, problem) => {
    const template = await ChatTemplate.fromFolder(await makeFolder(files));
    expect(template?.problem).toBeInstanceOf(ChatTemplateError);
    expect(() => template?.render(messages)).toThrow(ChatTemplateError);
    expect(() => template?.render(messages)).toThrow(problem);
    expect(template?.problem?.message).not.toContain('/');
  });
});

describe('roles', () => {
  /** As Granite 4 and Nemotron Nano 2 have them: what they do not know, they leave out. */
  const few = new ChatTemplate(
    "{%- if messages[0].role == 'system' %}[S]{{ messages[0].content }}{% endif %}{%- for m in messages %}{%- if m.role == 'user' %}[U]{{ m.content }}{%- elif m.role == 'assistant' %}[A]{{ m.content }}{% endif %}{% endfor %}",
  );
  const any = new ChatTemplate('{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}');
  const user = { role: 'user', content: 'hi' };

  test('developer becomes system where the template does not know it', () => {
    const developer = { role: 'developer', content: 'In French.' };
    expect(few.render([developer, user])).toBe('[S]In French.[U]hi');
    expect(any.render([developer, user])).toBe('[system]In French.[user]hi');
    const knows = new ChatTemplate(
      "{% for m in messages %}{{ '[D]' if m['role'] == 'developer' else '[O]' }}{{ m.content }}{% endfor %}",
    );
    expect(knows.render([developer, user])).toBe('[D]In French.[O]hi');
    // The text of a part called so, or a field, is no role.
    const other = new ChatTemplate(
      "{{ messages[0]['developer'] }}{% for m in messages %}{{ m.role }} {{ m.content }}{% endfor %}",
    );
    expect(other.render([developer])).toBe('system In French.');
  });

  test('what a template would leave out is refused', () => {
    const late = [user, { role: 'developer', content: 'In French.' }];
    expect(() => few.render(late)).toThrow(/leaves out message 2, whose role is 'developer'/);
    expect(() => few.render([user, { role: 'tool', content: '21 °C' }])).toThrow(
      /leaves out message 2, whose role is 'tool'/,
    );
    expect(any.render([user, { role: 'tool', content: '21 °C' }])).toBe('[user]hi[tool]21 °C');
    expect(few.render([user, { role: 'tool', content: '' }])).toBe('[U]hi');
  });

  test.each(['User', 'asistant', '', 'ipython', 'content'])('%j is refused', (role) => {
    for (const template of [few, any]) {
      expect(() => template.render([user, { role, content: 'x' }])).toThrow(ChatTemplateError);
      expect(() => template.render([user, { role, content: 'x' }])).toThrow(
        `Message 2 has the role '${role}', which the chat template does not know. Use one of 'system', 'user', 'assistant'`,
      );
    }
  });

  test('no role at all is refused', () => {
    const broken = [{ content: 'x' }, { role: null, content: 'x' }, null] as never[];
    for (const message of broken)
      expect(() => any.render([message])).toThrow(/Message 1 has the role (undefined|null)/);
  });

  test("a template's own roles are taken", () => {
    const own = new ChatTemplate(
      "{% for m in messages %}{% if m.role in ['ipython', 'context'] %}[I]{% endif %}{{ m.content }}{% endfor %}",
    );
    expect(own.render([user, { role: 'ipython', content: '1' }, { role: 'context', content: '2' }])).toBe('hi[I]1[I]2');
  });
});

describe('parts of text', () => {
  const parts = [
    { type: 'text', text: 'a' },
    { type: 'text', text: 'b' },
  ] as const;

  test('are joined by line ends where a template knows no parts', () => {
    for (const source of [
      '{% for m in messages %}{{ m.content }}{% endfor %}',
      '{% for m in messages %}{{ m.content | trim }}{% endfor %}',
      "{% for m in messages %}{{ '' + m.content }}{% endfor %}",
    ]) {
      expect(new ChatTemplate(source).render([{ role: 'user', content: parts }])).toBe('a\nb');
    }
  });

  test('are handed over where it does', () => {
    const both = new ChatTemplate(
      '{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}<{{ p.text }}>{% endfor %}{% endif %}{% endfor %}',
    );
    expect(both.render([{ role: 'user', content: parts }])).toBe('<a><b>');
    expect(both.render([{ role: 'user', content: 'c' }])).toBe('c');
    const only = new ChatTemplate(
      "{% for m in messages %}{% for p in m['content'] %}<{{ p['text'] }}>{% endfor %}{% endfor %}",
    );
    expect(only.render([{ role: 'user', content: parts }])).toBe('<a><b>');
    expect(only.render([{ role: 'user', content: 'c' }])).toBe('<c>');
  });
});

describe('arguments of earlier calls', () => {
  const call = (args: unknown) => [
    { role: 'assistant', content: '', tool_calls: [{ type: 'function', function: { name: 'f', arguments: args } }] },
  ];
  const TEXT = '{"b": 1, "10": 2.0, "2": null}';
  const each = (body: string) => `{% for m in messages %}{% for c in m.tool_calls %}${body}{% endfor %}{% endfor %}`;

  test('are a mapping in their order where the template takes one', () => {
    const items = new ChatTemplate(
      each('{% for k, v in c.function.arguments | items %}{{ k }}={{ v | string }};{% endfor %}'),
    );
    expect(items.render(call(TEXT))).toBe('b=1;10=2.0;2=None;');
    expect(
      items.render(
        call(
          new Map<string, unknown>([
            ['b', 1],
            ['10', true],
          ]),
        ),
      ),
    ).toBe('b=1;10=True;');
    expect(new ChatTemplate(each('{{ c.function.arguments | tojson }}')).render(call(TEXT))).toBe(TEXT);
  });

  test('are a mapping also where the template fails without tools', () => {
    const strict = new ChatTemplate(
      `{% for t in tools %}{{ t.function.name }}{% endfor %}${each('{{ c.function.arguments if c.function.arguments is string else c.function.arguments | tojson }}')}`,
    );
    expect(strict.render(call('{"b":1}'), { tools: [{ type: 'function', function: { name: 'f' } }] })).toBe(
      'f{"b": 1}',
    );
  });

  test('stay the text that they are where it does not', () => {
    expect(new ChatTemplate(each('{{ c.function.arguments }}')).render(call(TEXT))).toBe(TEXT);
    expect(new ChatTemplate(each("{{ '' + c.function.arguments }}")).render(call(TEXT))).toBe(TEXT);
    expect(new ChatTemplate(each('{{ c.function.arguments | tojson }}')).render(call('no JSON'))).toBe('"no JSON"');
  });
});

describe('the last message continued', () => {
  const chatml = new ChatTemplate(CHATML);
  const trimmed = new ChatTemplate('{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}[end]{% endfor %}');
  const user = { role: 'user', content: 'Hi' };
  const continued = (template: ChatTemplate, content: ChatMessage['content']) =>
    template.render([user, { role: 'assistant', content }], { addGenerationPrompt: false, continueFinalMessage: true });

  test('ends where the message does, wherever else its text is', () => {
    const header = '<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n';
    for (const content of ['Well', 'e', 'end', ' Well \n', ''])
      expect(continued(chatml, content)).toBe(header + content);
    expect(continued(trimmed, 'e')).toBe('[user] Hi[end][assistant] e');
    expect(continued(trimmed, ' Well \n')).toBe('[user] Hi[end][assistant] Well');
    const parts = [
      { type: 'text', text: 'a' },
      { type: 'text', text: 'b ' },
    ] as const;
    expect(continued(chatml, parts)).toBe(`${header}a\nb `);
  });

  test('needs a content that the template writes', () => {
    const none = [{ role: 'assistant', content: null as unknown as string }];
    expect(() => chatml.render(none, { continueFinalMessage: true })).toThrow(/it has no content/);
    expect(() => chatml.render([], { continueFinalMessage: true })).toThrow(/it has no content/);
    const silent = new ChatTemplate("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}");
    expect(() => continued(silent, 'x')).toThrow(/the chat template changes it/);
  });
});

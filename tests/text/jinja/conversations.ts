/** Variables of a template. */
export type Variables = Readonly<Record<string, unknown>> & { readonly messages: readonly Message[] };
type Message = Readonly<Record<string, unknown>>;

const system = { role: 'system', content: 'You are brief.' };
const user = { role: 'user', content: 'Hello, "world" <é😀>\n' };
const more = { role: 'user', content: 'And then?' };
const answer = { role: 'assistant', content: '<think>\nhm\n</think>\n\n    return 1\n' };
const plain = { role: 'assistant', content: 'Then this.' };
const thought = { role: 'assistant', reasoning_content: 'deep\n', content: 'ok' };

function calls(content: string | null, ...args: unknown[]) {
  const toolCalls = args.map((each, i) => ({
    id: `call0000${i}`,
    type: 'function',
    function: { name: 'get_weather', arguments: each },
  }));
  return { role: 'assistant', content, tool_calls: toolCalls };
}

function parts(role: string, ...texts: string[]) {
  return { role, content: texts.map((text) => ({ type: 'text', text })) };
}

const wide = { city: 'Paris', days: 3, deep: { a: [1, null, true, 2.5], b: 'x"y' }, none: null, flag: false };
const odd = { b: 'zwei\nZeilen', a: '', 'ключ "1"': 'ценность', list: [], map: {}, big: 9007199254740991, tiny: 1e-7 };
const result = { role: 'tool', name: 'get_weather', tool_call_id: 'call00000', content: '{"t": 21}' };
const second = { ...result, tool_call_id: 'call00001', content: '21 °C, <b>windig</b>' };
const tools = [
  {
    type: 'function',
    function: {
      name: 'get_weather',
      description: 'Gets the "weather".\nReally.',
      parameters: {
        type: 'object',
        properties: {
          city: { type: 'string', description: 'City', enum: ['Paris', 'Rome'] },
          days: { type: ['integer', 'null'], default: 3, minimum: 1 },
        },
        required: ['city'],
        additionalProperties: false,
      },
      return: { type: 'object', properties: { t: { type: 'number' } } },
    },
  },
  { type: 'function', function: { name: 'f', parameters: { type: 'object', properties: {} } } },
];
const nested = [
  {
    type: 'function',
    function: {
      name: 'search',
      description: 'Sucht – «überall»',
      parameters: {
        type: 'object',
        $defs: { place: { type: 'object', properties: { lat: { type: 'number' } } } },
        properties: {
          where: { anyOf: [{ $ref: '#/$defs/place' }, { type: 'null' }], default: null },
          tags: { type: 'array', items: { type: 'string', enum: ['a', 'b'] }, minItems: 1 },
          filter: { type: 'object', properties: { deep: { type: 'boolean', default: true } }, required: ['deep'] },
        },
        required: [],
      },
    },
  },
];
const documents = [
  { title: 'T', text: 'x', doc_id: 1 },
  { title: 'Über', text: 'mehr\nZeilen', source: 'web', doc_id: 'b' },
];

/** What transformers passes always. */
const common = { tools: null, documents: null, add_generation_prompt: true, bos_token: '<s>', eos_token: '</s>' };

/** Conversations with calls, whose arguments are mappings. */
const WITH_CALLS: readonly Variables[] = [
  { messages: [system, user, calls('', wide), result] },
  { messages: [system, user, calls('', wide), result], tools },
  { messages: [system, user, calls(null, wide, {}), result, second, more], tools },
  { messages: [user, calls('text', wide), result, plain], add_generation_prompt: false, tools },
  { messages: [user, calls('', odd), result, plain, more], tools },
  { messages: [user, calls('', odd), result, calls('', wide), second], tools: nested },
  {
    messages: [user, { ...calls('', wide), reasoning_content: 'Which city?\n' }, result, { ...thought }, more],
    tools,
    enable_thinking: true,
  },
  { messages: [user, { ...calls('<think>\nhm\n</think>\n\n', {}) }, { ...result, content: '' }], tools },
  { messages: [user, calls('', wide), { ...parts('tool', 'a', 'b'), tool_call_id: 'call00000' }], tools },
];

const OTHERS: readonly Variables[] = [
  { messages: [user] },
  { messages: [system, user] },
  { messages: [user], add_generation_prompt: false },
  { messages: [user, answer, more] },
  { messages: [system, user, answer, more] },
  { messages: [system, user, answer, more], add_generation_prompt: false },
  { messages: [user, plain, more, plain, user, plain, more] },
  { messages: [] },
  { messages: [system] },
  { messages: [answer, user] },
  { messages: [user, more] },
  { messages: [user, plain, plain, more] },
  { messages: [parts('user', 'a', 'b')] },
  { messages: [parts('system', 'a'), parts('user', 'b'), parts('assistant', 'c', 'd'), parts('user', 'e')] },
  { messages: [{ role: 'user', content: [] }] },
  { messages: [user], tools },
  { messages: [system, user], tools },
  { messages: [user], tools: [] },
  { messages: [system, user], tools: nested },
  { messages: [user, calls('', '{"city": "Paris"}'), result], tools },
  { messages: [user, calls('', 'no JSON'), result], tools },
  { messages: [user, { ...calls(''), tool_calls: [] }, more], tools },
  { messages: [user, { role: 'assistant', tool_calls: calls('', {}).tool_calls }, result], tools },
  { messages: [user, thought, more] },
  { messages: [user, thought, more], enable_thinking: false },
  { messages: [user, { role: 'assistant', thinking: 'a', reasoning: 'b', content: 'c' }, more], thinking: true },
  { messages: [user], enable_thinking: true, thinking: true },
  { messages: [user], enable_thinking: false, thinking: false, reasoning_effort: 'low' },
  { messages: [user], reasoning_effort: 'high', thinking_budget: 512, preserve_thinking: true },
  {
    messages: [
      { ...system, content: '/no_think Be brief.' },
      { ...user, content: 'Hi /think' },
    ],
  },
  { messages: [{ role: 'developer', content: 'In French.' }, user] },
  { messages: [system, user], documents },
  { messages: [user], documents, tools },
  { messages: [{ role: 'user', content: '' }] },
  { messages: [{ role: 'system', content: '' }, user, { role: 'assistant', content: '' }, more] },
  {
    messages: [
      { role: 'user', content: '  spaced  ' },
      { role: 'assistant', content: null },
    ],
  },
  {
    messages: [
      { role: 'user', content: '\ufeffа\u0301 \u200bשלום\u2028👩‍👩‍👧\r\nß\u0085İ\x1c' },
      { ...plain, content: '日本語\n\n' },
    ],
  },
  { messages: [{ role: 'user', content: '</s>{{ 1 }}{% if x %}<|im_end|>\\n\'"\t' }] },
  { messages: [system, { ...more, name: 'Bob' }] },
  { messages: [user], date_string: '1 January 2026', bos_token: '', builtin_tools: ['search'] },
];

function complete(variables: Variables): Variables {
  return { ...common, ...variables };
}

/** Variables of templates: conversations of all kinds, those that most templates refuse included. */
export const CONVERSATIONS: readonly Variables[] = [...WITH_CALLS, ...WITH_CALLS.map(withJsonArguments), ...OTHERS].map(
  complete,
);

/** Conversations with calls that every template of a family takes, as far as it knows tools. */
export const HISTORIES: readonly Variables[] = [WITH_CALLS[2], WITH_CALLS[3], WITH_CALLS[5], WITH_CALLS[6]].map(
  complete,
);

/** Conversations whose last message is to be continued. */
export const CONTINUED: readonly Variables[] = [
  { messages: [user, { ...plain, content: 'Th' }] },
  { messages: [system, user, { ...plain, content: 'a' }] },
  { messages: [user, answer, more, { ...plain, content: ' Let me see: \n' }] },
  { messages: [user, { ...plain, content: '' }] },
  { messages: [user, { ...plain, content: '<think>\nWell,' }] },
  { messages: [user, calls('', wide), result, { ...plain, content: 'It is' }], tools },
  { messages: [user, parts('assistant', 'one', 'two ')] },
].map((variables) => complete({ ...variables, add_generation_prompt: false }));

/** Variables whose calls have their arguments as JSON, as on the wire. */
export function withJsonArguments(variables: Variables): Variables {
  return withArguments(variables, (given) => (typeof given === 'string' ? given : JSON.stringify(given)));
}

/** Variables whose calls have mappings as arguments instead of JSON. */
export function withMappings(variables: Variables): Variables {
  return withArguments(variables, (given) =>
    typeof given === 'string' && given.startsWith('{') ? JSON.parse(given) : given,
  );
}

function withArguments(variables: Variables, change: (given: unknown) => unknown): Variables {
  const messages = variables.messages.map((message) => {
    if (!Array.isArray(message.tool_calls)) return message;
    const toolCalls = message.tool_calls.map((call) => {
      return { ...call, function: { ...call.function, arguments: change(call.function.arguments) } };
    });
    return { ...message, tool_calls: toolCalls };
  });
  return { ...variables, messages };
}

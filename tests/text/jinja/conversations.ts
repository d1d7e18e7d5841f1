const system = { role: 'system', content: 'You are brief.' };
const user = { role: 'user', content: 'Hello, "world" <é😀>\n' };
const more = { role: 'user', content: 'And then?' };
const answer = { role: 'assistant', content: '<think>\nhm\n</think>\n\n    return 1\n' };
const thought = { role: 'assistant', reasoning_content: 'deep\n', content: 'ok' };

function calls(content: string | null, ...args: unknown[]) {
  const toolCalls = args.map((each, i) => ({
    id: `call0000${i}`,
    type: 'function',
    function: { name: 'get_weather', arguments: each },
  }));
  return { role: 'assistant', content, tool_calls: toolCalls };
}

const wide = { city: 'Paris', days: 3, deep: { a: [1, null, true, 2.5], b: 'x"y' }, none: null, flag: false };
const result = { role: 'tool', name: 'get_weather', tool_call_id: 'call00000', content: '{"t": 21}' };
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

/** What transformers passes always. */
const common = { tools: null, documents: null, add_generation_prompt: true, bos_token: '<s>', eos_token: '</s>' };

/** Variables of templates: conversations of all kinds, those that most templates refuse included. */
export const CONVERSATIONS: readonly Readonly<Record<string, unknown>>[] = [
  { messages: [user] },
  { messages: [system, user] },
  { messages: [user, answer, more] },
  { messages: [system, user, answer, more] },
  { messages: [system, user, answer, more], add_generation_prompt: false },
  { messages: [] },
  { messages: [system] },
  { messages: [answer, user] },
  { messages: [user, more] },
  {
    messages: [
      {
        role: 'user',
        content: [
          { type: 'text', text: 'a' },
          { type: 'text', text: 'b' },
        ],
      },
    ],
  },
  { messages: [system, user, calls('', wide), result] },
  { messages: [system, user, calls('', wide), result], tools },
  { messages: [user], tools },
  { messages: [system, user], tools },
  { messages: [system, user, calls(null, wide, {}), result, { ...result, tool_call_id: 'call00001' }, more], tools },
  { messages: [user, calls('', '{"city": "Paris"}'), result], tools },
  { messages: [user, calls('text', wide), result, answer], add_generation_prompt: false, tools },
  { messages: [user, thought, more] },
  { messages: [user, thought, more], enable_thinking: false },
  { messages: [user], enable_thinking: true, thinking: true },
  { messages: [{ role: 'developer', content: 'In French.' }, user] },
  { messages: [system, user], documents: [{ title: 'T', text: 'x', doc_id: 1 }] },
  { messages: [{ role: 'user', content: '' }] },
  {
    messages: [
      { role: 'user', content: '  spaced  ' },
      { role: 'assistant', content: null },
    ],
  },
  { messages: [system, { ...more, name: 'Bob' }] },
].map((variables) => ({ ...common, ...variables }));

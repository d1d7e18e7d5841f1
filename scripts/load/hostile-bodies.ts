/** A request that could hold a server's only thread. */
export interface HostileBody {
  readonly name: string;
  readonly path: string;
  readonly body: string;
}

const COMPLETIONS = '/v1/completions';
const CHAT = '/v1/chat/completions';
const TOKENIZE = '/tokenize';

/** Limit of the server for a text's characters, by default. */
const MOST_CHARACTERS = 262_144;

function filled(part: string, length = MOST_CHARACTERS): string {
  return part.repeat(Math.floor(length / part.length));
}

function list(count: number, part: string): string {
  return `[${Array(count).fill(part).join(',')}]`;
}

function fields(count: number, value: string): string {
  return Array.from({ length: count }, (_, i) => `"k${i.toString(36)}":${value}`).join(',');
}

const TEXTS: Readonly<Record<string, string>> = {
  'one letter': filled('a'),
  spaces: filled(' '),
  'spaces and a letter': `${filled(' ', MOST_CHARACTERS - 1)}x`,
  'line ends': filled('\n'),
  dashes: filled('-'),
  words: filled('the quick brown fox '),
  code: filled('export interface User { name: string; }\n'),
  digits: filled('1234567890'),
  punctuation: filled('{}();.,'),
  emoji: filled('😀'),
  'combining accents': `e${filled('\u0301', MOST_CHARACTERS - 1)}`,
  ideographs: filled('漢字'),
};

/** Each as large as the server's limits allow. None has a long answer. */
export const HOSTILE_BODIES: readonly HostileBody[] = [
  ...Object.entries(TEXTS).map(([name, prompt]) => ({
    name: `text: ${name}`,
    path: TOKENIZE,
    body: JSON.stringify({ prompt, return_token_strs: true }),
  })),
  { name: 'unknown fields', path: COMPLETIONS, body: `{"prompt":"a",${fields(330_000, '1')}}` },
  {
    name: 'unknown fields that are null',
    path: COMPLETIONS,
    body: `{"prompt":"a","max_tokens":1,${fields(280_000, 'null')}}`,
  },
  {
    name: 'unknown fields of an option',
    path: COMPLETIONS,
    body: `{"prompt":"a","stream_options":{${fields(60_000, '1')}}}`,
  },
  { name: 'biased tokens', path: COMPLETIONS, body: `{"prompt":"a","logit_bias":{${fields(300_000, '1')}}}` },
  { name: 'stop strings that are none', path: COMPLETIONS, body: `{"prompt":"a","stop":${list(1_500_000, '1')}}` },
  { name: 'nested lists', path: COMPLETIONS, body: `{"metadata":${'['.repeat(2e6)}${']'.repeat(2e6)},"prompt":"a"}` },
  { name: 'a prompt of token ids', path: COMPLETIONS, body: `{"prompt":${list(2_000_000, '1')}}` },
  { name: 'token ids and a text', path: COMPLETIONS, body: `{"prompt":[${Array(2e6).fill('1').join(',')},"a"]}` },
  { name: 'empty prompts', path: COMPLETIONS, body: `{"prompt":${list(1_300_000, '""')}}` },
  { name: 'prompts of one token', path: COMPLETIONS, body: `{"prompt":${list(1_000_000, '[1]')}}` },
  {
    name: 'a seed of 64 bits beside a long text',
    path: COMPLETIONS,
    body: `{"prompt":"${filled('a\\"', 4e6)}","seed":9007199254740993}`,
  },
  { name: 'messages', path: CHAT, body: `{"messages":${list(21_000, '{"role":"user","content":"a"}')}}` },
  {
    name: 'messages with wrong parts',
    path: CHAT,
    body: `{"messages":${list(16_000, '{"role":"user","content":[1]}')}}`,
  },
  {
    name: 'messages with unknown fields',
    path: CHAT,
    body: `{"messages":${list(14_000, '{"role":"u","content":"a","x":1}')}}`,
  },
  {
    name: 'a message with unknown fields',
    path: CHAT,
    body: `{"messages":[{"role":"user","content":"a",${fields(60_000, '1')}}]}`,
  },
  {
    name: 'a long prompt, echoed with logprobs',
    path: COMPLETIONS,
    body: `{"prompt":${list(4000, '7')},"max_tokens":0,"echo":true,"logprobs":20}`,
  },
  {
    name: 'many answers with logprobs',
    path: COMPLETIONS,
    body: '{"prompt":"type A","max_tokens":40,"n":64,"logprobs":20,"temperature":1,"ignore_eos":true}',
  },
  { name: 'token ids to decode', path: '/detokenize', body: `{"tokens":${list(2_000_000, '5')}}` },
];

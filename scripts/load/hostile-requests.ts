/**
 * Requests that ask for as much as one may, or for more: many prompts and answers, long lists, logprobs of all. A server
 * answers or refuses each, and stays as it was.
 */
export const HOSTILE_REQUESTS: readonly object[] = [
  // More than an answer may hold.
  { prompt: 'export', n: 128, max_tokens: 16_000, logprobs: 20 },
  // Within the limits.
  { prompt: Array.from({ length: 64 }, (_, i) => `export interface A${i} {`), max_tokens: 20, stream: true },
  { prompt: 'export interface User {', n: 24, max_tokens: 30, logprobs: 20, ignore_eos: true },
  { prompt: 'export interface User {', n: 24, max_tokens: 30, logprobs: 20, ignore_eos: true, stream: true },
  {
    prompt: new Array(4).fill('export declare function f(): void;\n'.repeat(40)),
    max_tokens: 0,
    echo: true,
    logprobs: 20,
  },
  {
    prompt: 'type',
    max_tokens: 40,
    stop: Array.from({ length: 256 }, (_, i) => `${'a'.repeat(40)}${i}`),
    ignore_eos: true,
  },
  { prompt: 'type', max_tokens: 40, stop: 'a'.repeat(16_000), logit_bias: { 300: 100 }, ignore_eos: true },
  { prompt: 'type', max_tokens: 10, half_life_interval: 1, n: 8 },
  // Refused.
  { prompt: 'type', max_tokens: 40, stop: new Array(20_000).fill('e') },
  { prompt: 'type', max_tokens: 40, bad_words: ['b'.repeat(50_000)] },
  { prompt: 'type', max_tokens: 40, priority: -1_000_000 },
  { prompt: new Array(500).fill('a'), max_tokens: 1 },
];

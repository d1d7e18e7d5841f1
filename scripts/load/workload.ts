import { readFileSync } from 'node:fs';
import { seededRandom } from './seeded-random.ts';
import type { CompletionBody } from './streamed-request.ts';

/** Declarations, which is what the bundled model continues. */
const TEXT = readFileSync(new URL('../../node_modules/@types/node/fs.d.ts', import.meta.url), 'utf8');

/** Requests of mixed lengths: the same lengths for every seed, but texts of its own, so that none was seen before. */
export function mixedRequests(count: number, seed: number): CompletionBody[] {
  const lengths = seededRandom(1);
  const places = seededRandom(seed);
  const between = (low: number, high: number) => Math.round(low * (high / low) ** lengths());
  return Array.from({ length: count }, (_, i) => {
    const characters = between(24, 1600);
    const begin = Math.floor(places() * (TEXT.length - characters));
    return {
      prompt: TEXT.slice(begin, begin + characters),
      max_tokens: between(8, 128),
      temperature: i % 2 === 0 ? 0 : 0.8,
      seed: i,
      ignore_eos: true,
    };
  });
}

/** Pieces of text for the turns of a conversation. */
export function turnTexts(turns: number, characters: number, seed: number): string[] {
  const begin = Math.floor(seededRandom(seed)() * (TEXT.length - turns * characters));
  return Array.from({ length: turns }, (_, i) => TEXT.slice(begin + i * characters, begin + (i + 1) * characters));
}

import { z } from 'zod';

/** Schema of a seed; the engine checks its range. */
export const seedField = z.custom<number | bigint>(isWhole, 'expected an integer').meta({
  description: 'The same seed gives the same answer, whatever else the server does. -1: a random one.',
  type: 'integer',
  format: 'int64',
});

/**
 * Seed of a body, exact: seeds have 64 bits, and JSON.parse rounds large ones to doubles. In that case the seed is read
 * again from `text`, the body's JSON.
 */
export function exactSeed(seed: unknown, text: string): unknown {
  if (typeof seed !== 'number' || !Number.isInteger(seed) || Number.isSafeInteger(seed)) return seed;
  // Long integers become strings, which keep all digits; other strings stay as they are.
  const quoted = text.replace(STRING_OR_LONG_INTEGER, (part) => (part.startsWith('"') ? part : `"${part}"`));
  const written: unknown = JSON.parse(quoted).seed;
  return typeof written === 'string' ? BigInt(written) : seed;
}

const STRING_OR_LONG_INTEGER = /"(?:[^"\\]|\\.)*"|(?<![\d.eE+-])-?\d{16,}(?![\d.eE])/g;

function isWhole(value: unknown): value is number | bigint {
  return typeof value === 'bigint' || Number.isInteger(value);
}

import { z } from 'zod';

/** A seed. Which integers make one, the engine says. */
export const seedField = z.custom<number | bigint>(isWhole, 'expected an integer').meta({
  description: 'The same seed gives the same answer, whatever else the server does. -1: a random one.',
  type: 'integer',
  format: 'int64',
});

/**
 * The seed of a body as it was written: seeds have 64 bits, and JSON.parse gives a double, in which several of them are
 * one. `text` is the body's JSON, and looked at only where that has happened.
 */
export function exactSeed(seed: unknown, text: string): unknown {
  if (typeof seed !== 'number' || !Number.isInteger(seed) || Number.isSafeInteger(seed)) return seed;
  // Long integers become strings, which are exact; other strings stay what they are.
  const quoted = text.replace(STRING_OR_LONG_INTEGER, (part) => (part.startsWith('"') ? part : `"${part}"`));
  const written: unknown = JSON.parse(quoted).seed;
  return typeof written === 'string' ? BigInt(written) : seed;
}

const STRING_OR_LONG_INTEGER = /"(?:[^"\\]|\\.)*"|(?<![\d.eE+-])-?\d{16,}(?![\d.eE])/g;

function isWhole(value: unknown): value is number | bigint {
  return typeof value === 'bigint' || Number.isInteger(value);
}

import { z } from 'zod';

/** Token ids: as a body has them, or packed. */
export type TokenIds = readonly number[] | Float64Array<ArrayBuffer>;

/** Texts or token ids. */
export type PromptField = string | TokenIds | readonly (string | TokenIds)[];

/**
 * Checked by hand: prompts may have hundreds of thousands of token ids, and a union of schemas would try them four
 * times and list every one that does not fit.
 */
export const promptField = z.custom<PromptField>(isPrompt, 'expected a text, token ids, or a list of either').meta({
  description: 'A text, token ids, or several of either.',
  anyOf: [
    { type: 'string' },
    { type: 'array', items: { type: 'string' } },
    { type: 'array', items: { type: 'integer' } },
    { type: 'array', items: { type: 'array', items: { type: 'integer' } } },
  ],
});

/** Token ids alone, for the same reason. */
export const tokenIdsField = z
  .custom<TokenIds>(isTokenIds, 'expected a list of token ids')
  .meta({ description: 'Token ids.', type: 'array', items: { type: 'integer' } });

/** The prompts of a field as a list. */
export function promptList(prompt: PromptField): readonly (string | TokenIds)[] {
  if (typeof prompt === 'string' || prompt instanceof Float64Array) return [prompt];
  return isTokenIds(prompt) ? [prompt] : prompt;
}

/** Token ids in memory that can be moved to another thread. JSON's numbers are doubles, which keep their value. */
export function packedIds(ids: TokenIds): Float64Array<ArrayBuffer> {
  return ids instanceof Float64Array ? ids : Float64Array.from(ids);
}

function isPrompt(value: unknown): value is PromptField {
  if (typeof value === 'string') return true;
  if (!isList(value) || value.length === 0) return false;
  return isTokenIds(value) || value.every((part) => typeof part === 'string') || value.every(isTokenIds);
}

function isTokenIds(value: unknown): value is readonly number[] {
  return isList(value) && value.every((id) => Number.isInteger(id));
}

function isList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value);
}

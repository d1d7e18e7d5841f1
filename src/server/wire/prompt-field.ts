import { z } from 'zod';

/** Token ids, as a list of numbers or packed into a typed array. */
export type TokenIds = readonly number[] | Float64Array<ArrayBuffer>;

/** Texts or token ids. */
export type PromptField = string | TokenIds | readonly (string | TokenIds)[];

/**
 * Schema of a prompt, checked without a union of schemas: prompts may have hundreds of thousands of token ids, and a
 * union would try them four times and list each one that does not fit.
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

/** Schema of token ids alone, for the same reason. */
export const tokenIdsField = z
  .custom<TokenIds>(isTokenIds, 'expected a list of token ids')
  .meta({ description: 'Token ids.', type: 'array', items: { type: 'integer' } });

/** The prompts of a field as a list. */
export function promptList(prompt: PromptField): readonly (string | TokenIds)[] {
  if (typeof prompt === 'string' || prompt instanceof Float64Array) return [prompt];
  return isTokenIds(prompt) ? [prompt] : prompt;
}

/** Token ids in an array that can be moved to another thread. Doubles keep every number that JSON has. */
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

import type { CodePoints } from './ebnf.ts';

/** Texts that a part of a grammar stands for. */
export type Expression =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'class'; readonly ranges: readonly CodePoints[] }
  | { readonly type: 'sequence'; readonly parts: readonly Expression[] }
  | { readonly type: 'choice'; readonly parts: readonly Expression[] }
  /** Texts of both parts; those of the first that are none of the second. Neither has rules in it. */
  | { readonly type: 'both' | 'except'; readonly parts: readonly [Expression, Expression] }
  | { readonly type: 'repeat'; readonly part: Expression; readonly min: number; readonly max: number }
  | { readonly type: 'rule'; readonly name: string };

export const EMPTY: Expression = { type: 'text', text: '' };

/** One after another; a sequence in a sequence is a part of it. */
export function sequenceOf(parts: readonly Expression[]): Expression {
  const flat = parts
    .flatMap((part) => (part.type === 'sequence' ? part.parts : [part]))
    .filter((part) => part.type !== 'text' || part.text !== '');
  return flat.length === 1 ? flat[0] : flat.length === 0 ? EMPTY : { type: 'sequence', parts: flat };
}

/** One of several; a choice in a choice is a part of it. */
export function choiceOf(parts: readonly Expression[]): Expression {
  const flat = parts.flatMap((part) => (part.type === 'choice' ? part.parts : [part]));
  return flat.length === 1 ? flat[0] : { type: 'choice', parts: flat };
}

import { TOKEN_TYPES, type VocabularyToken } from './named-tokens.ts';

/** Two tokens that become one. */
export type Merge = readonly [left: string, right: string];

/** Merges as a file lists them: two tokens with a space between, of which the first may begin with one. */
export function splitMerges(merges: readonly string[]): Merge[] {
  return merges.flatMap((merge): Merge[] => {
    const at = merge.indexOf(' ', 1);
    return at === -1 ? [] : [[merge.slice(0, at), merge.slice(at + 1)]];
  });
}

/**
 * The merges that make the same tokens of a text as SentencePiece's byte-pair encoding. That merges the neighbours whose
 * union has the highest score: so any two parts of a token merge into it, tokens with higher scores first. A part is a
 * token itself, or one character, which needs no token.
 * @param scores by token id.
 */
export function mergesOfScores(tokens: readonly VocabularyToken[], scores: readonly number[]): Merge[] {
  const normal = tokens.filter(({ type }) => type === TOKEN_TYPES.normal || type === TOKEN_TYPES.userDefined);
  const ids = new Map(normal.map(({ text, id }) => [text, id]));
  const inOrder = normal.toSorted((a, b) => scores[b.id] - scores[a.id] || a.id - b.id);
  return inOrder.flatMap(({ text }) => {
    const characters = [...text];
    const parts = characters.slice(1).map((_, i): Merge => {
      return [characters.slice(0, i + 1).join(''), characters.slice(i + 1).join('')];
    });
    const id = (part: string) => ids.get(part) ?? -1;
    return parts
      .filter((merge) => merge.every((part) => ids.has(part) || [...part].length === 1))
      .sort((a, b) => id(a[0]) - id(b[0]) || id(a[1]) - id(b[1]));
  });
}

import { TOKEN_TYPES, type VocabularyToken } from './named-tokens.ts';

/**
 * The merges that make the same tokens of a text as SentencePiece's byte-pair encoding, as 'left right': no token has a
 * space, which is written otherwise. SentencePiece merges the neighbours whose union has the highest score. So any two
 * parts of a token merge into it, tokens with higher scores first. A part is a token itself, or one character, which
 * needs no token.
 * @param scores by token id.
 */
export function mergesOfScores(tokens: readonly VocabularyToken[], scores: readonly number[]): string[] {
  const normal = tokens.filter(({ type }) => type === TOKEN_TYPES.normal);
  const ids = new Map(normal.map(({ text, id }) => [text, id]));
  const inOrder = normal.toSorted((a, b) => scores[b.id] - scores[a.id] || a.id - b.id);
  return inOrder.flatMap(({ text }) => {
    const characters = [...text];
    const parts = characters.slice(1).map((_, i) => {
      return [characters.slice(0, i + 1).join(''), characters.slice(i + 1).join('')] as const;
    });
    const id = (part: string) => ids.get(part) ?? -1;
    return parts
      .filter((merge) => merge.every((part) => ids.has(part) || [...part].length === 1))
      .sort((a, b) => id(a[0]) - id(b[0]) || id(a[1]) - id(b[1]))
      .map(([left, right]) => `${left} ${right}`);
  });
}

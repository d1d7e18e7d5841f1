import type { AddedToken } from './added-tokens.ts';

/** A part of a text: an added token, or the text between two. */
export type TextOrToken = { readonly token: AddedToken } | { readonly text: string };

/** A node of the tree of tokens: what may follow, and the token that ends here. */
interface Node {
  readonly next: Map<number, Node>;
  token?: AddedToken;
}

/**
 * Finds added tokens in texts: the first one, and of those that begin at the same place the longest, as the Rust
 * library does. White space is Unicode's: U+FEFF, which JavaScript trims, is not white space.
 */
export class AddedTokenSplitter {
  readonly #root: Node = { next: new Map() };

  constructor(tokens: Iterable<{ readonly content: string; readonly token: AddedToken }>) {
    for (const { content, token } of tokens) {
      if (content === '') continue;
      let node = this.#root;
      for (let i = 0; i < content.length; i++) {
        const unit = content.charCodeAt(i);
        const next: Node = node.next.get(unit) ?? { next: new Map() };
        node.next.set(unit, next);
        node = next;
      }
      node.token = token;
    }
  }

  /** The parts of a text, none of which is empty. White space that a token takes is in none of them. */
  split(text: string): TextOrToken[] {
    const parts: TextOrToken[] = [];
    let begin = 0;
    const addText = (end: number) => {
      if (end > begin) parts.push({ text: text.slice(begin, end) });
    };
    for (let at = 0; at < text.length; ) {
      const found = this.#longestAt(text, at);
      if (!found || (found.token.singleWord && !isWord(text, at, found.end))) {
        at = found?.end ?? at + 1;
        continue;
      }
      addText(found.token.lstrip ? spaceBefore(text, at, begin) : at);
      parts.push({ token: found.token });
      begin = found.token.rstrip ? spaceAfter(text, found.end) : found.end;
      at = begin;
    }
    addText(text.length);
    return parts;
  }

  #longestAt(text: string, begin: number): { readonly token: AddedToken; readonly end: number } | undefined {
    let node: Node | undefined = this.#root;
    let found: { readonly token: AddedToken; readonly end: number } | undefined;
    for (let at = begin; node; at++) {
      if (node.token) found = { token: node.token, end: at };
      node = at < text.length ? node.next.get(text.charCodeAt(at)) : undefined;
    }
    return found;
  }
}

const WHITE_SPACE = /\p{White_Space}/u;
const WORD = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]/u;

/** Beginning of the white space that ends at `end`, but not before `least`. */
function spaceBefore(text: string, end: number, least: number): number {
  while (end > least && WHITE_SPACE.test(text[end - 1])) end--;
  return end;
}

function spaceAfter(text: string, begin: number): number {
  while (begin < text.length && WHITE_SPACE.test(text[begin])) begin++;
  return begin;
}

/** Whether no word character touches this part of the text. */
function isWord(text: string, begin: number, end: number): boolean {
  const [before] = /.$/su.exec(text.slice(Math.max(0, begin - 2), begin)) ?? [''];
  const after = text.codePointAt(end);
  return !WORD.test(before) && (after === undefined || !WORD.test(String.fromCodePoint(after)));
}

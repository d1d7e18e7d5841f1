import { Lexer, type Token, type Tokens } from 'marked';
import { element } from '../element.ts';

/** Makes nodes of an answer's text; the caller decides which, so that readers can point at parts of it. */
export type MakeText = (text: string) => readonly Node[];

/** Markdown's blocks, in order. `raw` is the source that a block came from: joined, they are the source. */
export function markdownBlocks(source: string): readonly Token[] {
  return Lexer.lex(source);
}

/**
 * One block as elements. HTML from a model never becomes markup: it is shown as text, images are links, and links
 * lead only to web pages and mail addresses.
 */
export function renderBlock(block: Token, makeText: MakeText): readonly Node[] {
  switch (block.type) {
    case 'space':
    case 'def':
      return [];
    case 'hr':
      return [element('hr')];
    case 'heading':
      // The page itself has two levels of headings above.
      return [element(headingName((block as Tokens.Heading).depth), {}, ...inline(block, makeText))];
    case 'code':
      return [codeBlock(block as Tokens.Code, makeText)];
    case 'blockquote':
      return [element('blockquote', {}, ...blocks(block.tokens, makeText))];
    case 'list':
      return [list(block as Tokens.List, makeText)];
    case 'table':
      return [table(block as Tokens.Table, makeText)];
    case 'paragraph':
      return [element('p', {}, ...inline(block, makeText))];
    default:
      return inline(block, makeText);
  }
}

function blocks(tokens: readonly Token[] | undefined, makeText: MakeText): Node[] {
  return (tokens ?? []).flatMap((token) => renderBlock(token, makeText));
}

function headingName(depth: number): 'h3' | 'h4' | 'h5' | 'h6' {
  return (['h3', 'h4', 'h5'] as const)[depth - 1] ?? 'h6';
}

function codeBlock({ text, lang = '' }: Tokens.Code, makeText: MakeText): HTMLElement {
  const copy = element('button', { type: 'button', class: 'quiet copy' }, 'Copy');
  copy.addEventListener('click', () => void copyText(text, copy));
  const bar = element('div', { class: 'code-bar' }, element('span', {}, lang.split(/\s/, 1)[0]), copy);
  return element('div', { class: 'code-block' }, bar, element('pre', {}, element('code', {}, ...makeText(text))));
}

function list({ ordered, start, items }: Tokens.List, makeText: MakeText): HTMLElement {
  const entries = items.map(({ task, checked, tokens }) => {
    const box = task ? [element('input', { type: 'checkbox', disabled: '', checked: checked ? '' : undefined })] : [];
    return element('li', {}, ...box, ...blocks(tokens, makeText));
  });
  if (!ordered) return element('ul', {}, ...entries);
  return element('ol', { start: start === '' || start === 1 ? undefined : `${start}` }, ...entries);
}

function table({ header, rows }: Tokens.Table, makeText: MakeText): HTMLElement {
  const row = (cells: readonly Tokens.TableCell[], name: 'th' | 'td') =>
    element('tr', {}, ...cells.map((cell) => element(name, {}, ...inline(cell, makeText))));
  const body = rows.map((cells) => row(cells, 'td'));
  return element(
    'div',
    { class: 'table-frame' },
    element('table', {}, element('thead', {}, row(header, 'th')), element('tbody', {}, ...body)),
  );
}

/** The content of a line. Kinds of tokens without parts are text. */
function inline(token: Token | Tokens.TableCell, makeText: MakeText): Node[] {
  const { tokens } = token as { readonly tokens?: readonly Token[] };
  if (tokens) return tokens.flatMap((part) => span(part, makeText));
  return [...makeText(plainText((token as { readonly text?: string }).text ?? ''))];
}

function span(token: Token, makeText: MakeText): Node[] {
  switch (token.type) {
    case 'strong':
    case 'em':
    case 'del':
      return [element(token.type, {}, ...inline(token, makeText))];
    case 'br':
      return [element('br')];
    case 'codespan':
      return [element('code', {}, ...makeText((token as Tokens.Codespan).text))];
    case 'link':
    case 'image':
      return [link(token as Tokens.Link | Tokens.Image, makeText)];
    case 'html':
      return [...makeText(token.raw)];
    default:
      return inline(token, makeText);
  }
}

function link(token: Tokens.Link | Tokens.Image, makeText: MakeText): Node {
  const parts = inline(token, makeText);
  if (!/^(https?:|mailto:)/i.test(token.href)) return element('span', { title: token.href }, ...parts);
  return element('a', { href: token.href, target: '_blank', rel: 'noreferrer noopener' }, ...parts);
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&amp;': '&',
  '&lt;': '<',
  '&gt;': '>',
  '&quot;': '"',
  '&#39;': "'",
  '&nbsp;': '\u00a0',
};

function plainText(text: string): string {
  return text.replace(/&(?:amp|lt|gt|quot|#39|nbsp);/g, (entity) => ENTITIES[entity]);
}

/** Milliseconds for which a button shows the result of a click. */
const SAID = 1500;

/** Copies a text to the clipboard; the button shows whether that worked. */
export async function copyText(text: string, button: HTMLButtonElement): Promise<void> {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = 'Copied';
  } catch {
    // Pages without https have no clipboard.
    button.textContent = 'Not allowed';
  }
  setTimeout(() => {
    button.textContent = label;
  }, SAID);
}

import { element } from '../element.ts';
import { markdownBlocks, renderBlock } from './markdown.ts';

/** A token's text, and its place in the answer. */
interface TokenSpan {
  readonly key: string;
  readonly begin: number;
  readonly end: number;
}

interface DrawnBlock {
  readonly raw: string;
  readonly nodes: readonly Node[];
}

/**
 * An answer that grows, as Markdown or as plain text. Each token's text is in elements of class `token` whose `data-token`
 * is the token's key, so that readers can point at what they see.
 */
export class AnswerView {
  readonly root = element('div', { class: 'answer' });
  readonly #isMarkdown: boolean;
  #spans: TokenSpan[] = [];
  #source = '';
  #blocks: DrawnBlock[] = [];
  /** Number of tokens of a plain answer that have been drawn. */
  #drawn = 0;

  constructor({ isMarkdown }: { readonly isMarkdown: boolean }) {
    this.#isMarkdown = isMarkdown;
    if (isMarkdown) this.root.classList.add('markdown');
  }

  get length(): number {
    return this.#spans.length;
  }

  /** The text as the model wrote it. */
  get text(): string {
    return this.#source;
  }

  /** Adds a token's text; `draw` shows it. */
  add(text: string, key: string): void {
    const begin = this.#source.length;
    this.#source += text;
    this.#spans.push({ key, begin, end: this.#source.length });
  }

  /** Removes all tokens except the first ones. */
  truncate(length: number): void {
    this.#source = this.#source.slice(0, this.#spans[length]?.begin ?? this.#source.length);
    this.#spans = this.#spans.slice(0, length);
    this.#blocks = [];
    this.#drawn = 0;
    this.root.replaceChildren();
    this.draw();
  }

  /** Shows what was added. Only Markdown blocks that changed are rendered again, mostly the last one. */
  draw(): void {
    if (!this.#isMarkdown) {
      for (; this.#drawn < this.#spans.length; this.#drawn++) {
        const { key, begin, end } = this.#spans[this.#drawn];
        this.root.append(tokenElement(this.#source.slice(begin, end), key));
      }
      return;
    }
    const blocks = markdownBlocks(this.#source);
    let same = 0;
    while (same < blocks.length && blocks[same].raw === this.#blocks[same]?.raw) same++;
    for (const { nodes } of this.#blocks.slice(same)) for (const node of nodes) this.root.removeChild(node);
    this.#blocks = this.#blocks.slice(0, same);
    let begin = this.#blocks.reduce((sum, { raw }) => sum + raw.length, 0);
    for (const block of blocks.slice(same)) {
      const nodes = renderBlock(block, this.#textMaker(begin, begin + block.raw.length));
      this.root.append(...nodes);
      this.#blocks.push({ raw: block.raw, nodes });
      begin += block.raw.length;
    }
  }

  /**
   * Finds the texts of a block in the source, from its beginning on, and so the tokens that they came from. Markdown may
   * have changed a text (escapes, indents); a text that is not found unchanged belongs to no token.
   */
  #textMaker(begin: number, end: number): (text: string) => Node[] {
    let from = begin;
    return (text) =>
      text.split(/(?<=\n)/).flatMap((line) => {
        const at = this.#source.indexOf(line, from);
        if (at < 0 || at + line.length > end) return [document.createTextNode(line)];
        from = at + line.length;
        return this.#tokenElements(at, from);
      });
  }

  #tokenElements(begin: number, end: number): Node[] {
    const made: Node[] = [];
    for (let i = this.#spanAt(begin); i < this.#spans.length && this.#spans[i].begin < end; i++) {
      const span = this.#spans[i];
      const text = this.#source.slice(Math.max(begin, span.begin), Math.min(end, span.end));
      if (text !== '') made.push(tokenElement(text, span.key));
    }
    return made;
  }

  /** The span that contains a position of the source. */
  #spanAt(place: number): number {
    let [low, high] = [0, this.#spans.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#spans[middle].end <= place) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function tokenElement(text: string, key: string): HTMLElement {
  return element('span', { class: 'token', 'data-token': key }, text);
}

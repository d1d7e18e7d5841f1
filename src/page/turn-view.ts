import { AnswerView } from './answer-view.ts';
import { element } from './element.ts';
import { copyText } from './markdown.ts';
import { type MemoryReport, memoryReport } from './memory/memory-report.ts';
import type { Moment } from './moment.ts';
import type { AnswerPiece } from './server-client.ts';

/** One turn in the transcript. */
export class TurnView {
  readonly root: HTMLElement;
  readonly #name: string;
  readonly #answer: AnswerView;
  /** Thoughts before the answer, folded. */
  readonly #thoughts = element('p', { class: 'thoughts' });
  readonly #thinking = element('details', { hidden: '' }, element('summary', {}, 'Thoughts'), this.#thoughts);
  readonly #footer = element('footer', { class: 'turn-footer' });
  /** Tokens since the last report, which belong to the next one. */
  #pending: { readonly key: string; readonly text: string }[] = [];
  #numTokens = 0;
  /** Number of pieces that the answer had before it was continued. */
  #kept = 0;

  /** @param name distinguishes the turn's tokens from those of other turns. */
  constructor(name: string, question: string, mode: 'chat' | 'text', isMarkdown: boolean) {
    this.#name = name;
    this.#answer = new AnswerView({ isMarkdown });
    const asked = element('div', { class: 'question' }, question);
    const label = mode === 'chat' ? 'Question and answer' : 'Text';
    this.root = element('article', { class: `turn ${mode}`, 'aria-label': label });
    // A text and its continuation are one.
    if (mode === 'chat') this.root.append(asked, this.#thinking, this.#answer.root, this.#footer);
    else this.root.append(element('div', { class: 'text' }, asked, this.#answer.root), this.#footer);
  }

  begin(): void {
    this.root.setAttribute('aria-busy', 'true');
    this.#footer.replaceChildren();
    this.#pending = [];
    this.#kept = this.#answer.length;
  }

  /** @returns the moment that it completes. A report is about the tokens before the piece that it comes with. */
  add({ text, reasoning, halfLives }: AnswerPiece): Moment | undefined {
    if (reasoning !== undefined) {
      this.#thinking.hidden = false;
      this.#thoughts.append(reasoning);
    }
    const moment = halfLives && this.#moment(memoryReport(halfLives));
    if (text !== '') {
      const key = `${this.#name}.${this.#numTokens++}`;
      this.#answer.add(text, key);
      this.#pending.push({ key, text });
    }
    return moment;
  }

  /** Shows what was added. */
  draw(): void {
    this.#answer.draw();
  }

  end(note: string, ...actions: readonly HTMLElement[]): void {
    this.root.removeAttribute('aria-busy');
    this.#footer.replaceChildren(element('span', { class: 'note' }, note), ...this.#copyButton(), ...actions);
  }

  fail(message: string, ...actions: readonly HTMLElement[]): void {
    this.root.removeAttribute('aria-busy');
    const alert = element('p', { class: 'failure', role: 'alert' }, message);
    this.#footer.replaceChildren(alert, ...actions);
  }

  /** Removes what was added since the answer began. */
  takeBack(): void {
    this.#answer.truncate(this.#kept);
    this.#thoughts.replaceChildren();
    this.#thinking.hidden = true;
  }

  #copyButton(): HTMLButtonElement[] {
    if (this.#answer.text === '') return [];
    const button = element('button', { type: 'button', class: 'quiet copy-answer' }, 'Copy');
    button.addEventListener('click', () => void copyText(this.#answer.text, button));
    return [button];
  }

  #moment(report: MemoryReport): Moment {
    const moment = {
      report,
      text: this.#pending.map(({ text }) => text).join(''),
      tokens: this.#pending.map(({ key }) => key),
    };
    this.#pending = [];
    return moment;
  }
}

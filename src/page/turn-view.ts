import { element } from './element.ts';
import { type MemoryReport, memoryReport } from './memory-report.ts';
import type { Moment } from './moment.ts';
import type { AnswerPiece } from './server-client.ts';

/** One turn in the transcript. */
export class TurnView {
  readonly root: HTMLElement;
  readonly #answer: HTMLElement;
  readonly #footer = element('footer', { class: 'turn-footer' });
  /** Tokens since the last report, whose own comes with the next. */
  #pending: HTMLElement[] = [];
  /** Parts of the answer that were there before it went on. */
  #kept = 0;

  constructor(question: string, mode: 'chat' | 'text') {
    this.#answer = element('div', { class: 'answer' });
    const asked = element('div', { class: 'question' }, question);
    const label = mode === 'chat' ? 'Question and answer' : 'Text';
    this.root = element('article', { class: `turn ${mode}`, 'aria-label': label });
    // A text and what follows are one.
    if (mode === 'chat') this.root.append(asked, this.#answer, this.#footer);
    else this.root.append(element('div', { class: 'text' }, asked, this.#answer), this.#footer);
  }

  begin(): void {
    this.root.setAttribute('aria-busy', 'true');
    this.#footer.replaceChildren();
    this.#pending = [];
    this.#kept = this.#answer.childNodes.length;
  }

  /** → the moment that it completes. A report is about the tokens in front of the piece that it comes with. */
  add({ text, halfLives }: AnswerPiece): Moment | undefined {
    const moment = halfLives && this.#moment(memoryReport(halfLives));
    if (text !== '') {
      const token = element('span', { class: 'token' }, text);
      this.#answer.append(token);
      this.#pending.push(token);
    }
    return moment;
  }

  end(note: string, ...actions: readonly HTMLElement[]): void {
    this.root.removeAttribute('aria-busy');
    this.#footer.replaceChildren(element('span', { class: 'note' }, note), ...actions);
  }

  fail(message: string, ...actions: readonly HTMLElement[]): void {
    this.root.removeAttribute('aria-busy');
    const alert = element('p', { class: 'failure', role: 'alert' }, message);
    this.#footer.replaceChildren(alert, ...actions);
  }

  /** Takes back what came since it began. */
  takeBack(): void {
    this.#answer.replaceChildren(...[...this.#answer.childNodes].slice(0, this.#kept));
  }

  #moment(report: MemoryReport): Moment {
    const moment = { report, tokens: this.#pending };
    this.#pending = [];
    return moment;
  }
}

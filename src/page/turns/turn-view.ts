import { element } from '../element.ts';
import { type MemoryReport, memoryReport } from '../memory/memory-report.ts';
import type { Moment } from '../moment.ts';
import type { AnswerPiece } from '../server-client.ts';
import { AnswerView } from './answer-view.ts';
import { CallsView } from './calls-view.ts';
import { copyText } from './markdown.ts';
import type { ToolCall, ToolResult } from './tool-calls.ts';

/** One turn in the transcript. */
export class TurnView {
  readonly root: HTMLElement;
  readonly #name: string;
  readonly #answer: AnswerView;
  /** Thoughts before the answer, folded. */
  readonly #thoughts = element('p', { class: 'thoughts' });
  readonly #thinkingName = element('summary', {}, 'Thoughts');
  readonly #thinking = element('details', { class: 'thinking', hidden: '' }, this.#thinkingName, this.#thoughts);
  readonly #calls = new CallsView();
  readonly #footer = element('footer', { class: 'turn-footer' });
  /** Tokens since the last report, which belong to the next one. */
  #pending: { readonly key: string; readonly text: string }[] = [];
  #numTokens = 0;
  /** Number of pieces that the answer had before it was continued. */
  #kept = 0;

  /**
   * @param name distinguishes the turn's tokens from those of other turns.
   * @param question what the reader wrote; empty for a turn that begins with results of calls.
   */
  constructor(name: string, question: string, mode: 'chat' | 'text', isMarkdown: boolean) {
    this.#name = name;
    this.#answer = new AnswerView({ isMarkdown });
    const asked = element('div', { class: 'question' }, question);
    const label = mode === 'chat' ? 'Question and answer' : 'Text';
    this.root = element('article', { class: `turn ${mode}`, 'aria-label': label });
    // A text and its continuation are one.
    if (mode === 'chat') {
      if (question !== '') this.root.append(asked);
      this.root.append(this.#thinking, this.#answer.root, this.#calls.root, this.#footer);
    } else this.root.append(element('div', { class: 'text' }, asked, this.#answer.root), this.#footer);
  }

  begin(): void {
    this.root.setAttribute('aria-busy', 'true');
    this.#footer.replaceChildren();
    this.#pending = [];
    this.#kept = this.#answer.length;
  }

  /** @returns the moment that it completes. A report is about the tokens before the piece that it comes with. */
  add({ text, reasoning, calls, halfLives, finishReason }: AnswerPiece): Moment | undefined {
    if (reasoning !== undefined) {
      this.#thinking.hidden = false;
      this.#thinkingName.textContent = 'Thinking …';
      this.#thoughts.append(reasoning);
    } else if (text !== '' || calls !== undefined) this.#thinkingName.textContent = 'Thoughts';
    if (calls !== undefined) this.#calls.add(calls);
    // An answer with calls ends with them, or at a limit: what looked like one was malformed, and the text has it.
    if (finishReason === 'stop') this.#calls.clear();
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

  /** The calls of the answer that are whole. */
  get calls(): readonly ToolCall[] {
    return this.#calls.whole;
  }

  /** Asks for the results of the answer's calls. @param onResults called when the reader sends them. */
  askForResults(onResults: () => void): void {
    this.#calls.end(onResults);
  }

  /** The results that the reader has written; from now on they can't be changed. */
  takeResults(): readonly ToolResult[] {
    return this.#calls.takeResults();
  }

  end(note: string, ...actions: readonly HTMLElement[]): void {
    this.#settle();
    this.#footer.replaceChildren(element('span', { class: 'note' }, note), ...this.#copyButton(), ...actions);
  }

  fail(message: string, ...actions: readonly HTMLElement[]): void {
    this.#settle();
    const alert = element('p', { class: 'failure', role: 'alert' }, message);
    this.#footer.replaceChildren(alert, ...actions);
  }

  /** Removes what was added since the answer began. */
  takeBack(): void {
    this.#answer.truncate(this.#kept);
    this.#thoughts.replaceChildren();
    this.#thinking.hidden = true;
    this.#calls.clear();
  }

  #settle(): void {
    this.root.removeAttribute('aria-busy');
    this.#thinkingName.textContent = 'Thoughts';
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

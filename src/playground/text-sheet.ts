import { byId } from '../page/element.ts';

/** The text: the prompt and the model's continuation. */
export class TextSheet {
  readonly #scroller = byId('scroller', HTMLElement);
  readonly #prompt = byId('prompt-text', HTMLElement);
  readonly #answer = byId('answer-text', HTMLElement);
  readonly #failure = byId('failure', HTMLElement);
  readonly #note = byId('text-note', HTMLElement);
  /** Text that arrived since the last frame. */
  #pending = '';
  #isDrawing = false;

  begin(prompt: string): void {
    this.#prompt.textContent = prompt;
    this.#answer.textContent = '';
    this.#failure.textContent = '';
    this.#note.textContent = '';
    this.#pending = '';
  }

  add({ text }: { readonly text: string }): void {
    this.#pending += text;
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    // Tokens may arrive faster than frames.
    requestAnimationFrame(() => this.#draw());
  }

  end(note: string): void {
    this.#note.textContent = note;
  }

  fail(message: string): void {
    this.#failure.textContent = message;
  }

  #draw(): void {
    this.#isDrawing = false;
    const { scrollTop, clientHeight, scrollHeight } = this.#scroller;
    const isAtEnd = scrollHeight - scrollTop - clientHeight < 40;
    this.#answer.append(this.#pending);
    this.#pending = '';
    if (isAtEnd) this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }
}

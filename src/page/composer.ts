import { byId } from './element.ts';

/** The field in which the reader writes, and the buttons that start and stop an answer. */
export class Composer {
  onSubmit: (text: string) => void = () => {};
  onStop: () => void = () => {};
  readonly #input = byId('input', HTMLTextAreaElement);
  readonly #send = byId('send', HTMLButtonElement);
  readonly #stop = byId('stop', HTMLButtonElement);
  #mode: 'chat' | 'text' = 'chat';
  #canContinue = false;
  #isBusy = false;

  constructor() {
    const form = byId('composer', HTMLFormElement);
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#input.addEventListener('keydown', (event) => {
      // Input methods use Enter too.
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#submit();
    });
    this.#input.addEventListener('input', () => this.#update());
    this.#stop.addEventListener('click', () => this.onStop());
    document.addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && this.#isBusy) this.onStop();
    });
    this.#update();
  }

  setMode(mode: 'chat' | 'text'): void {
    this.#mode = mode;
    this.#input.placeholder = mode === 'chat' ? 'Ask something' : 'A text to continue';
    this.#input.classList.toggle('code', mode === 'text');
    this.#update();
  }

  /** @param canContinue whether an empty text continues the last one. */
  setBusy(isBusy: boolean, canContinue: boolean): void {
    const hadFocus = document.activeElement === this.#send || document.activeElement === this.#stop;
    this.#isBusy = isBusy;
    this.#canContinue = canContinue;
    this.#send.hidden = isBusy;
    this.#stop.hidden = !isBusy;
    this.#update();
    if (hadFocus) this.#input.focus();
  }

  set text(text: string) {
    this.#input.value = text;
    this.#update();
    this.#input.focus();
  }

  #submit(): void {
    if (this.#isBusy || this.#send.disabled) return;
    const text = this.#input.value;
    this.#input.value = '';
    this.#update();
    this.onSubmit(this.#mode === 'chat' ? text.trim() : text);
  }

  #update(): void {
    const isEmpty = this.#input.value.trim() === '';
    const continues = this.#mode === 'text' && this.#canContinue && isEmpty;
    this.#send.disabled = isEmpty && !continues;
    this.#send.textContent = this.#mode === 'chat' ? 'Send' : continues ? 'Continue' : 'Write';
    // The field is as high as its text, within the limits of the style.
    this.#input.style.height = 'auto';
    this.#input.style.height = `${this.#input.scrollHeight + 2}px`;
  }
}

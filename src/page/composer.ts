import { byId } from './element.ts';

/** Where the reader writes, and what starts and stops an answer. */
export class Composer {
  onSubmit: (text: string) => void = () => {};
  onStop: () => void = () => {};
  readonly #input = byId('input', HTMLTextAreaElement);
  readonly #send = byId('send', HTMLButtonElement);
  readonly #stop = byId('stop', HTMLButtonElement);
  #mode: 'chat' | 'text' = 'chat';
  #canGoOn = false;
  #isBusy = false;

  constructor() {
    const form = byId('composer', HTMLFormElement);
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#input.addEventListener('keydown', (event) => {
      // Writing by an input method uses Enter, too.
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
    this.#input.placeholder = mode === 'chat' ? 'Ask something' : 'A text to go on with';
    this.#input.classList.toggle('code', mode === 'text');
    this.#update();
  }

  /** @param canGoOn whether an empty text goes on with the last one. */
  setBusy(isBusy: boolean, canGoOn: boolean): void {
    const hadFocus = document.activeElement === this.#send || document.activeElement === this.#stop;
    this.#isBusy = isBusy;
    this.#canGoOn = canGoOn;
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
    const goesOn = this.#mode === 'text' && this.#canGoOn && isEmpty;
    this.#send.disabled = isEmpty && !goesOn;
    this.#send.textContent = this.#mode === 'chat' ? 'Send' : goesOn ? 'Go on' : 'Write';
    // As high as its text, within what the style allows.
    this.#input.style.height = 'auto';
    this.#input.style.height = `${this.#input.scrollHeight + 2}px`;
  }
}

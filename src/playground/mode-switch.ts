import type { LLM } from '../index.ts';
import { byId } from '../page/element.ts';

type Mode = 'chat' | 'text';

const HINTS = {
  chat: 'Enter sends, Shift+Enter starts a new line, Escape stops. Nothing that you write leaves this page.',
  text: 'Ctrl+Enter generates, Escape stops. Nothing that you write leaves this page.',
} as const;

/** Whether the page chats with the model or lets it continue a text. Models without a chat template only do the latter. */
export class ModeSwitch {
  onNewConversation: () => void = () => {};
  readonly #switch = byId('mode', HTMLFieldSetElement);
  readonly #chat = byId('mode-chat', HTMLInputElement);
  readonly #text = byId('mode-text', HTMLInputElement);
  readonly #prompt = byId('prompt', HTMLTextAreaElement);
  readonly #new = byId('new-conversation', HTMLButtonElement);
  /** Each mode's prompt, from when the other was chosen. */
  readonly #prompts = { chat: '', text: this.#prompt.value };
  #mode: Mode = 'text';

  constructor() {
    for (const input of [this.#chat, this.#text]) input.addEventListener('change', () => this.#choose());
    this.#new.addEventListener('click', () => this.onNewConversation());
    this.#choose();
  }

  get mode(): Mode {
    return this.#mode;
  }

  /** Whether Enter sends, given the modifier keys that are pressed. */
  sends({ ctrlKey, metaKey, shiftKey }: KeyboardEvent): boolean {
    return this.#mode === 'chat' ? !shiftKey : ctrlKey || metaKey;
  }

  /** Selects the mode that suits the model best. A completion template lets a model chat that was not trained to. */
  setModel(kind: LLM['chatTemplateKind']): void {
    this.#switch.hidden = kind === undefined;
    (kind === 'chat' ? this.#chat : this.#text).checked = true;
    this.#choose();
  }

  #choose(): void {
    const mode = this.#chat.checked ? 'chat' : 'text';
    this.#prompts[this.#mode] = this.#prompt.value;
    this.#mode = mode;
    this.#prompt.value = this.#prompts[mode];
    this.#prompt.classList.toggle('code', mode === 'text');
    this.#prompt.placeholder = mode === 'chat' ? 'Ask something' : 'A text to continue';
    this.#new.hidden = mode === 'text';
    for (const id of ['transcript', 'tools-field']) byId(id, HTMLElement).hidden = mode === 'text';
    for (const id of ['text', 'text-note', 'failure']) byId(id, HTMLElement).hidden = mode === 'chat';
    byId('generate', HTMLButtonElement).textContent = mode === 'chat' ? 'Send' : 'Generate';
    byId('hint', HTMLElement).textContent = HINTS[mode];
  }
}

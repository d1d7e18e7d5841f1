import { byId } from './element.ts';
import type { AnswerFields } from './server-client.ts';

/** Settings that the page's reader has chosen. */
export interface Settings {
  readonly systemPrompt: string;
  readonly temperature: number;
  readonly topP: number;
  readonly maxTokens: number;
  /** undefined: a different seed for every answer. */
  readonly seed: number | undefined;
  /** Tokens between two pictures of memory; 0: no pictures. */
  readonly pictureInterval: number;
  readonly apiKey: string;
}

const STORED = 'mamba2 settings';
const NUMBERS = ['temperature', 'topP', 'maxTokens', 'seed'] as const;

/** The dialog of settings. They are kept for the next visit, except the key, which is kept only for this one. */
export class SettingsForm {
  readonly #dialog = byId('settings', HTMLDialogElement);
  readonly #form = byId('settings-form', HTMLFormElement);

  constructor() {
    this.#restore();
    byId('open-settings', HTMLButtonElement).addEventListener('click', () => this.open());
    byId('reset-settings', HTMLButtonElement).addEventListener('click', () => {
      this.#form.reset();
      this.#changed();
    });
    this.#form.addEventListener('input', () => this.#changed());
    // A click outside the dialog is a click on its backdrop.
    this.#dialog.addEventListener('click', (event) => {
      if (event.target === this.#dialog) this.#dialog.close();
    });
    this.#changed();
  }

  get values(): Settings {
    return {
      systemPrompt: this.#text('systemPrompt').trim(),
      temperature: this.#number('temperature') ?? 0.7,
      topP: this.#number('topP') ?? 1,
      maxTokens: this.#number('maxTokens') ?? 256,
      seed: this.#number('seed'),
      pictureInterval: Number(this.#text('pictureInterval')),
      apiKey: this.#text('apiKey').trim(),
    };
  }

  /** @param field the field that gets the focus. */
  open(field?: keyof Settings): void {
    if (!this.#dialog.open) this.#dialog.showModal();
    if (field) this.#control(field).focus();
  }

  /** Hides fields that have no meaning for models that only continue texts. */
  setMode(mode: 'chat' | 'text'): void {
    byId('system-prompt-field', HTMLElement).hidden = mode === 'text';
  }

  #changed(): void {
    for (const name of ['temperature', 'topP'] as const) {
      byId(`${name}-value`, HTMLOutputElement).value = this.#text(name);
    }
    document.documentElement.dataset.theme = this.#text('theme');
    const { apiKey, ...kept } = Object.fromEntries(new FormData(this.#form)) as Record<string, string>;
    store(() => localStorage.setItem(STORED, JSON.stringify(kept)));
    store(() => sessionStorage.setItem(STORED, JSON.stringify({ apiKey })));
  }

  #restore(): void {
    for (const storage of ['localStorage', 'sessionStorage'] as const) {
      store(() => {
        const kept = JSON.parse(globalThis[storage].getItem(STORED) ?? '{}') as Record<string, string>;
        for (const [name, value] of Object.entries(kept))
          if (this.#form.elements.namedItem(name)) this.#control(name).value = value;
      });
    }
  }

  #text(name: keyof Settings | 'theme'): string {
    return this.#control(name).value;
  }

  /** The field's number; undefined if it is empty or outside the field's range. */
  #number(name: (typeof NUMBERS)[number]): number | undefined {
    const control = this.#control(name);
    return control.value === '' || !control.validity.valid ? undefined : Number(control.value);
  }

  #control(name: string): HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement {
    const found = this.#form.elements.namedItem(name);
    if (
      found instanceof HTMLInputElement ||
      found instanceof HTMLTextAreaElement ||
      found instanceof HTMLSelectElement
    ) {
      return found;
    }
    throw new Error(`The settings have no field '${name}'.`);
  }
}

/** The settings as the server's fields. */
export function answerFields({ temperature, topP, maxTokens, seed, pictureInterval }: Settings): AnswerFields {
  return {
    temperature,
    top_p: topP,
    max_tokens: maxTokens,
    ...(seed !== undefined && { seed }),
    ...(pictureInterval > 0 && { half_life_interval: pictureInterval }),
  };
}

/** The page's storage; undefined if the browser denies it. */
function store(use: () => void): void {
  try {
    use();
  } catch {}
}

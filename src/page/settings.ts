import { byId } from './element.ts';
import { JsonField } from './json-field.ts';
import { type JsonObject, readSchema, readTools, type Tool } from './json-forms.ts';
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
  /** Functions that the model may call. */
  readonly tools: readonly Tool[] | undefined;
  /** JSON Schema of answers. */
  readonly schema: JsonObject | undefined;
}

const STORED = 'mamba2 settings';
const NUMBERS = ['temperature', 'topP', 'maxTokens', 'seed'] as const;

/** The dialog of settings. They are kept for the next visit, except the key, which is kept only for this one. */
export class SettingsForm {
  readonly #dialog = byId('settings', HTMLDialogElement);
  readonly #form = byId('settings-form', HTMLFormElement);
  readonly #tools = new JsonField(byId('tools', HTMLTextAreaElement), readTools);
  readonly #schema = new JsonField(byId('schema', HTMLTextAreaElement), readSchema);
  readonly #askedFor = byId('asked-for', HTMLElement);

  #isChat = true;

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
      tools: this.#isChat ? this.#tools.value : undefined,
      schema: this.#schema.value,
    };
  }

  /** Whether all fields can be used. */
  check(): boolean {
    return !this.#problem();
  }

  /** Opens the dialog where a field can't be used. */
  showProblem(): void {
    this.open();
    this.#problem()?.focus();
  }

  #problem(): JsonField<unknown> | undefined {
    return [...(this.#isChat ? [this.#tools] : []), this.#schema].find((field) => !field.check());
  }

  /** @param field the field that gets the focus. */
  open(field?: keyof Settings): void {
    if (!this.#dialog.open) this.#dialog.showModal();
    if (field) this.#control(field).focus();
  }

  /** Hides fields that have no meaning for models that only continue texts. */
  setMode(mode: 'chat' | 'text'): void {
    this.#isChat = mode === 'chat';
    for (const id of ['system-prompt-field', 'tools-field']) byId(id, HTMLElement).hidden = !this.#isChat;
    this.#changed();
  }

  #changed(): void {
    for (const name of ['temperature', 'topP'] as const) {
      byId(`${name}-value`, HTMLOutputElement).value = this.#text(name);
    }
    document.documentElement.dataset.theme = this.#text('theme');
    const { tools = [], schema } = this.values;
    const parts = [
      tools.length > 0 ? `Tools: ${tools.map((tool) => tool.function.name).join(', ')}.` : [],
      schema === undefined ? [] : 'Answers are JSON of the schema.',
    ];
    this.#askedFor.textContent = parts.flat().join(' ');
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
export function answerFields(settings: Settings): AnswerFields {
  const { temperature, topP, maxTokens, seed, pictureInterval, schema } = settings;
  return {
    temperature,
    top_p: topP,
    max_tokens: maxTokens,
    ...(seed !== undefined && { seed }),
    ...(pictureInterval > 0 && { half_life_interval: pictureInterval }),
    ...(schema && { response_format: { type: 'json_schema', json_schema: { name: 'answer', schema } } }),
  };
}

/** The page's storage; undefined if the browser denies it. */
function store(use: () => void): void {
  try {
    use();
  } catch {}
}

import type { LoadOptions } from '../index.ts';
import { byId } from '../page/element.ts';
import { control } from './form-values.ts';

/** The model to load, and how. */
export interface ModelChoice {
  readonly source: string;
  readonly options: Pick<LoadOptions, 'device' | 'dtype' | 'tensorParallelSize'>;
}

/** The form for the model to load. A link to the page can fill it: `#model=org/name&dtype=int8`. */
export class ModelForm {
  onLoad: (choice: ModelChoice) => void = () => {};
  onCancel: () => void = () => {};
  readonly #form = byId('model-form', HTMLFormElement);
  readonly #load = byId('load', HTMLButtonElement);
  readonly #cancel = byId('cancel', HTMLButtonElement);

  constructor() {
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.onLoad(this.choice);
    });
    this.#cancel.addEventListener('click', () => this.onCancel());
    if (!globalThis.crossOriginIsolated) this.#explainSingleThread();
    this.#restore();
  }

  get choice(): ModelChoice {
    const device = this.#control('device').value as NonNullable<LoadOptions['device']>;
    // A GPU takes one rank.
    const threads = device === 'webgpu' ? 'auto' : this.#control('threads').value;
    return {
      source: this.#control('source').value.trim(),
      options: {
        device,
        dtype: this.#control('dtype').value as NonNullable<LoadOptions['dtype']>,
        tensorParallelSize: threads === 'auto' ? 'auto' : Number(threads),
      },
    };
  }

  set source(source: string) {
    this.#control('source').value = source;
  }

  setBusy(isBusy: boolean): void {
    this.#load.hidden = isBusy;
    this.#cancel.hidden = !isBusy;
    for (const name of ['source', 'device', 'dtype', 'threads']) this.#control(name).disabled = isBusy;
    if (!globalThis.crossOriginIsolated) this.#control('threads').disabled = true;
  }

  #explainSingleThread(): void {
    this.#control('threads').disabled = true;
    const note = byId('threads-note', HTMLElement);
    note.hidden = false;
    note.textContent =
      'One thread: workers share memory only in pages with the headers Cross-Origin-Opener-Policy and -Embedder-Policy.';
  }

  #restore(): void {
    const asked = new URLSearchParams(globalThis.location.hash.slice(1));
    const names = { model: 'source', device: 'device', dtype: 'dtype', threads: 'threads' };
    for (const [key, name] of Object.entries(names)) {
      const value = asked.get(key);
      if (value === null) continue;
      const field = this.#control(name);
      const before = field.value;
      field.value = value;
      // A select accepts only its own options.
      if (field.value === '') field.value = before;
    }
  }

  #control(name: string): HTMLInputElement | HTMLSelectElement {
    return control(this.#form, name);
  }
}

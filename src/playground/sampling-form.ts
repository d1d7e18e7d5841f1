import type { GenerateOptions } from '../index.ts';
import { byId } from '../page/element.ts';
import { control, numberIn } from './form-values.ts';

/** The form for the sampling parameters. */
export class SamplingForm {
  readonly #form = byId('sampling', HTMLFormElement);

  constructor() {
    this.#form.addEventListener('submit', (event) => event.preventDefault());
    this.#form.addEventListener('input', () => this.#showValues());
    this.#showValues();
  }

  get values(): GenerateOptions {
    return {
      temperature: numberIn(this.#form, 'temperature'),
      topP: numberIn(this.#form, 'topP'),
      topK: numberIn(this.#form, 'topK'),
      maxTokens: numberIn(this.#form, 'maxTokens'),
      seed: numberIn(this.#form, 'seed'),
    };
  }

  #showValues(): void {
    for (const name of ['temperature', 'topP']) {
      const output = this.#form.elements.namedItem(`${name}-value`);
      if (output instanceof HTMLOutputElement) output.value = control(this.#form, name).value;
    }
  }
}

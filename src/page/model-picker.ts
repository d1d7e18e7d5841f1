import { byId, element } from './element.ts';
import { shortModelName, showModelName } from './model-name.ts';
import type { ModelCard } from './server-client.ts';

/** The model's name in the bar; a choice where the server has several models. */
export class ModelPicker {
  onChoose: (model: ModelCard) => void = () => {};
  readonly #name = byId('model-name', HTMLElement);
  readonly #select = byId('model-picker', HTMLSelectElement);
  #models: readonly ModelCard[] = [];

  constructor() {
    this.#select.addEventListener('change', () => {
      const model = this.#models.find(({ id }) => id === this.#select.value);
      if (model === undefined) return;
      showModelName(model.id);
      this.onChoose(model);
    });
  }

  /** Shows models, of which the first is chosen. */
  show(models: readonly ModelCard[]): void {
    this.#models = models;
    const isChoice = models.length > 1;
    this.#name.hidden = isChoice;
    this.#select.hidden = !isChoice;
    // Models with the same short name are told apart by their whole names.
    const names = models.map(({ id }) => shortModelName(id));
    this.#select.replaceChildren(
      ...models.map(({ id }, i) =>
        element('option', { value: id }, names.filter((name) => name === names[i]).length > 1 ? id : names[i]),
      ),
    );
    showModelName(models[0]?.id ?? '');
  }
}

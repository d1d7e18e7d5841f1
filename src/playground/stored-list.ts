import { deleteStoredModel, type StoredModel, storedModels } from '../index.ts';
import { byId, element } from '../page/element.ts';
import { shortModelName } from '../page/model-name.ts';
import { formatBytes } from './sizes.ts';

/** The models that this browser stores for this site. */
export class StoredList {
  onChoose: (source: string) => void = () => {};
  readonly #section = byId('stored', HTMLElement);
  readonly #list = byId('stored-list', HTMLUListElement);

  /** Updates the list from the browser's storage. */
  async refresh(): Promise<void> {
    const models = await storedModels();
    this.#section.hidden = models.length === 0;
    this.#list.replaceChildren(...models.map((model) => this.#item(model)));
  }

  /** The names under which the stored models were loaded. */
  async names(): Promise<ReadonlySet<string>> {
    return new Set((await storedModels()).map(({ name }) => name));
  }

  #item(model: StoredModel): HTMLLIElement {
    const { name, location, storedBytes, totalBytes } = model;
    const choose = element('button', { type: 'button', class: 'quiet', title: location }, 'Use');
    choose.addEventListener('click', () => this.onChoose(name));
    const remove = element('button', { type: 'button', class: 'quiet' }, 'Delete');
    remove.addEventListener('click', async () => {
      remove.disabled = true;
      await deleteStoredModel(location);
      await this.refresh();
    });
    const size =
      storedBytes < totalBytes ? `${formatBytes(storedBytes)} of ${formatBytes(totalBytes)}` : formatBytes(storedBytes);
    return element(
      'li',
      {},
      element('span', { class: 'name', title: location }, shortModelName(name)),
      element('span', { class: 'note' }, size),
      choose,
      remove,
    );
  }
}

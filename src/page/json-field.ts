import { element } from './element.ts';

/** A field for JSON. What is wrong with it is said below, and keeps its form from being sent. */
export class JsonField<T> {
  readonly #input: HTMLTextAreaElement;
  readonly #problem: HTMLElement;
  readonly #read: (value: unknown) => T;

  /** @param read makes the value from what the JSON says. @throws Error whose message is for the reader */
  constructor(input: HTMLTextAreaElement, read: (value: unknown) => T) {
    this.#input = input;
    this.#read = read;
    this.#problem = element('span', { class: 'failure', role: 'alert', id: `${input.name}-problem` });
    input.insertAdjacentElement('afterend', this.#problem);
    input.setAttribute('aria-describedby', this.#problem.id);
    // What is being written is wrong until it is complete, so a problem is first said when the reader leaves the field.
    input.addEventListener('change', () => this.check());
    input.addEventListener('input', () => {
      if (this.#problem.textContent !== '') this.check();
    });
  }

  /** The value; undefined if the field is empty, or wrong. */
  get value(): T | undefined {
    const result = this.#result();
    return result instanceof Error ? undefined : result;
  }

  /** Says what is wrong. → whether the field can be used */
  check(): boolean {
    const result = this.#result();
    const problem = result instanceof Error ? result.message : '';
    this.#problem.textContent = problem;
    this.#input.setCustomValidity(problem);
    this.#input.setAttribute('aria-invalid', `${problem !== ''}`);
    return problem === '';
  }

  /** Goes to the field, and to what is wrong with it. */
  focus(): void {
    this.#input.focus();
    this.#problem.scrollIntoView({ block: 'nearest' });
  }

  #result(): T | undefined | Error {
    const text = this.#input.value.trim();
    if (text === '') return undefined;
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      return new Error(`This is not JSON: ${error instanceof Error ? error.message : error}`);
    }
    try {
      return this.#read(value);
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }
}

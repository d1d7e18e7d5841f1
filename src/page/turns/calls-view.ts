import { element } from '../element.ts';
import { CallList, readableArguments, type ToolCall, type ToolCallDelta, type ToolResult } from './tool-calls.ts';

/** A call on the page. */
interface CallView {
  readonly root: HTMLDetailsElement;
  readonly name: HTMLElement;
  /** The arguments in the folded line. */
  readonly brief: HTMLElement;
  /** The arguments for reading. */
  readonly given: HTMLElement;
}

/** The calls of an answer, folded, each with a field for its result as long as the model waits for it. */
export class CallsView {
  readonly root = element('form', { class: 'calls', hidden: '' });
  /** Called when the reader sends the results. */
  #onResults: () => void = () => {};
  readonly #calls = new CallList();
  readonly #views = new Map<number, CallView>();
  /** Fields of the results that the model waits for. */
  #fields: readonly (readonly [call: ToolCall, field: HTMLTextAreaElement])[] = [];

  constructor() {
    this.root.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#onResults();
    });
    this.root.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
      event.preventDefault();
      if (this.#fields.length > 0) this.#onResults();
    });
  }

  /** The calls that are whole. */
  get whole(): readonly ToolCall[] {
    return this.#calls.whole;
  }

  add(deltas: readonly ToolCallDelta[]): void {
    this.#calls.add(deltas);
    this.root.hidden = false;
    for (const [index, call] of this.#calls.all) {
      const view = this.#views.get(index) ?? this.#begin(index);
      view.name.textContent = `Call of ${call.function.name}`;
      for (const place of [view.brief, view.given]) place.textContent = call.function.arguments;
    }
  }

  /** Ends the answer: calls that are not whole go, and the others get fields for their results. */
  end(onResults: () => void): void {
    this.#onResults = onResults;
    const { whole } = this.#calls;
    const fields: [ToolCall, HTMLTextAreaElement][] = [];
    for (const [index, view] of this.#views) {
      const call = this.#calls.all.get(index);
      if (call === undefined || !whole.some(({ id }) => id === call.id)) view.root.remove();
      else {
        view.given.textContent = readableArguments(call.function.arguments);
        const field = element('textarea', { class: 'code', rows: '2', spellcheck: 'false' });
        const number = whole.length > 1 ? `call ${fields.length + 1}, ` : '';
        const label = element('span', {}, `Result of ${number}${call.function.name}`);
        view.root.after(element('label', { class: 'field result' }, label, field));
        fields.push([call, field]);
      }
    }
    this.#fields = fields;
    this.root.hidden = whole.length === 0;
    if (whole.length === 0) return;
    const send = element('button', { type: 'submit', class: 'primary' }, `Send result${whole.length > 1 ? 's' : ''}`);
    this.root.append(
      element('p', { class: 'result results-actions' }, send, element('small', {}, 'Ctrl+Enter sends.')),
    );
  }

  /** Takes the results as they are now; their fields become texts. Empty where none are waited for. */
  takeResults(): readonly ToolResult[] {
    const results = this.#fields.map(([call, field]) => ({ call, content: field.value }));
    for (const [index, { id }] of this.#calls.all) {
      const result = results.find(({ call }) => call.id === id);
      if (result === undefined) continue;
      const texts = [element('p', { class: 'call-part' }, 'Result'), element('pre', {}, result.content)];
      this.#views.get(index)?.root.append(...texts);
    }
    this.#fields = [];
    for (const part of this.root.querySelectorAll('.result')) part.remove();
    return results;
  }

  clear(): void {
    this.#calls.clear();
    this.#views.clear();
    this.#fields = [];
    this.root.replaceChildren();
    this.root.hidden = true;
  }

  #begin(index: number): CallView {
    const [name, brief, given] = [element('span'), element('span', { class: 'call-brief' }), element('pre')];
    const summary = element('summary', {}, name, ' ', brief);
    const heading = element('p', { class: 'call-part' }, 'Arguments');
    const root = element('details', { class: 'call' }, summary, heading, given);
    const view = { root, name, brief, given };
    this.#views.set(index, view);
    this.root.append(root);
    return view;
  }
}

import { element } from '../element.ts';
import { CallList, readableArguments, type ToolCall, type ToolCallDelta, type ToolResult } from './tool-calls.ts';

/** A call on the page. */
interface CallView {
  readonly root: HTMLDetailsElement;
  readonly summary: HTMLElement;
  readonly given: HTMLElement;
}

/** The calls of an answer, folded, and below them fields for their results. */
export class CallsView {
  readonly root = element('div', { class: 'calls', hidden: '' });
  readonly #calls = new CallList();
  readonly #views = new Map<number, CallView>();
  /** Fields of the results that the model waits for. */
  #fields: readonly (readonly [call: ToolCall, field: HTMLTextAreaElement])[] = [];

  /** The calls that are whole. */
  get whole(): readonly ToolCall[] {
    return this.#calls.whole;
  }

  add(deltas: readonly ToolCallDelta[]): void {
    this.#calls.add(deltas);
    this.root.hidden = false;
    for (const [index, { function: called }] of this.#calls.all) {
      const view = this.#views.get(index) ?? this.#begin(index);
      view.summary.textContent = `Call of ${called.name}`;
      view.given.textContent = called.arguments;
    }
  }

  /** Ends the answer: calls that are not whole go, and the others get fields for their results. */
  end(onResults: () => void): void {
    const { whole } = this.#calls;
    for (const [index, call] of this.#calls.all) {
      const view = this.#views.get(index);
      if (!view) continue;
      if (whole.some(({ id }) => id === call.id)) view.given.textContent = readableArguments(call.function.arguments);
      else view.root.remove();
    }
    this.root.hidden = whole.length === 0;
    if (whole.length > 0) this.#ask(whole, onResults);
  }

  /** Takes the results as they are now; their fields become texts. Empty where none are waited for. */
  takeResults(): readonly ToolResult[] {
    const results = this.#fields.map(([call, field]) => ({ call, content: field.value }));
    for (const { call, content } of results) {
      const [view] = [...this.#views].flatMap(([index, each]) =>
        this.#calls.all.get(index)?.id === call.id ? each : [],
      );
      view?.root.append(element('p', { class: 'call-part' }, 'Result'), element('pre', {}, content));
    }
    this.#fields = [];
    this.root.querySelector('.results')?.remove();
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
    const summary = element('summary');
    const given = element('pre');
    const root = element(
      'details',
      { class: 'call' },
      summary,
      element('p', { class: 'call-part' }, 'Arguments'),
      given,
    );
    const view = { root, summary, given };
    this.#views.set(index, view);
    this.root.append(root);
    return view;
  }

  #ask(calls: readonly ToolCall[], onResults: () => void): void {
    const form = element('form', { class: 'results' });
    this.#fields = calls.map(
      (call) => [call, element('textarea', { class: 'code', rows: '2', spellcheck: 'false' })] as const,
    );
    for (const [call, field] of this.#fields) {
      form.append(element('label', { class: 'field' }, element('span', {}, `Result of ${call.function.name}`), field));
    }
    const send = element(
      'button',
      { type: 'submit', class: 'primary' },
      calls.length > 1 ? 'Send results' : 'Send result',
    );
    form.append(element('p', { class: 'results-actions' }, send, element('small', {}, 'Ctrl+Enter sends.')));
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      onResults();
    });
    form.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
      event.preventDefault();
      onResults();
    });
    this.root.append(form);
  }
}

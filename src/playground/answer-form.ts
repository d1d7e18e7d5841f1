import type { ChatOptions } from '../index.ts';
import { byId } from '../page/element.ts';
import { JsonField } from '../page/json-field.ts';
import { readSchema, readTools } from '../page/json-forms.ts';

/** The form for what an answer may be: JSON of a schema, calls of tools. */
export class AnswerForm {
  readonly #tools = new JsonField(byId('tools', HTMLTextAreaElement), readTools);
  readonly #schema = new JsonField(byId('schema', HTMLTextAreaElement), readSchema);

  constructor() {
    byId('answer', HTMLFormElement).addEventListener('submit', (event) => event.preventDefault());
  }

  /** Whether the fields can be used; goes to one that can't. */
  check(mode: 'chat' | 'text'): boolean {
    const wrong = [...(mode === 'chat' ? [this.#tools] : []), this.#schema].find((field) => !field.check());
    wrong?.focus();
    return wrong === undefined;
  }

  get values(): Pick<ChatOptions, 'tools' | 'structuredOutputs'> {
    const [tools, json] = [this.#tools.value, this.#schema.value];
    return { ...(tools?.length && { tools }), ...(json && { structuredOutputs: { json } }) };
  }
}

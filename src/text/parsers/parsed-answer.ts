import { LongText } from '../../util/long-text.ts';
import type { AnswerDelta, ToolCall } from './answer-delta.ts';

/** Puts the parts of an answer together again. */
export class ParsedAnswer {
  readonly #texts = new LongText();
  readonly #reasoning = new LongText();
  readonly #calls = new Map<number, { readonly id: string; readonly name: string; readonly arguments: LongText }>();

  add(deltas: readonly AnswerDelta[]): void {
    for (const delta of deltas) {
      if (delta.type === 'text') this.#texts.add(delta.text);
      else if (delta.type === 'reasoning') this.#reasoning.add(delta.text);
      else if (delta.type === 'malformedCall') this.#calls.delete(delta.index);
      else {
        const { index, id = '', name = '', arguments: json = '' } = delta.call;
        const call = this.#calls.get(index) ?? { id, name, arguments: new LongText() };
        this.#calls.set(index, call);
        call.arguments.add(json);
      }
    }
  }

  get text(): string {
    return this.#texts.toString();
  }

  /** The thoughts; undefined: there are none. */
  get reasoning(): string | undefined {
    return this.#reasoning.toString() || undefined;
  }

  get hasToolCalls(): boolean {
    return this.#calls.size > 0;
  }

  get toolCalls(): readonly ToolCall[] {
    return [...this.#calls.values()].map(({ id, name, arguments: json }) => ({
      id,
      type: 'function',
      function: { name, arguments: json.toString() },
    }));
  }
}

/** A call that the model asks for, as messages have it. */
export interface ToolCall {
  readonly id: string;
  readonly type: 'function';
  /** `arguments` is JSON. */
  readonly function: { readonly name: string; readonly arguments: string };
}

/** The new part of a call: its id and name when it opens, then its arguments as they come. */
export interface ToolCallDelta {
  /** Number of the call in its answer. */
  readonly index: number;
  readonly id?: string | undefined;
  readonly name?: string | undefined;
  readonly arguments?: string | undefined;
  /** Present when the call counts as text after all, which the answer has. */
  readonly isMalformed?: true;
}

/** A result that the reader gave to a call. */
export interface ToolResult {
  readonly call: ToolCall;
  readonly content: string;
}

/** The calls of an answer, collected from their parts. */
export class CallList {
  readonly #calls = new Map<number, { id: string; name: string; text: string }>();

  add(deltas: readonly ToolCallDelta[]): void {
    for (const { index, id, name, arguments: text = '', isMalformed } of deltas) {
      if (isMalformed) {
        this.#calls.delete(index);
        continue;
      }
      const call = this.#calls.get(index) ?? { id: `call_${index}`, name: '', text: '' };
      this.#calls.set(index, { id: id ?? call.id, name: name ?? call.name, text: call.text + text });
    }
  }

  /** Every call so far by its number. Arguments may end anywhere. */
  get all(): ReadonlyMap<number, ToolCall> {
    return new Map([...this.#calls].map(([index, { id, name, text }]) => [index, toolCall(id, name, text)]));
  }

  /** The calls that are whole. What breaks off, or is malformed, the answer has as text. */
  get whole(): readonly ToolCall[] {
    return [...this.all.values()].filter((call) => isJson(call.function.arguments));
  }

  clear(): void {
    this.#calls.clear();
  }
}

function toolCall(id: string, name: string, text: string): ToolCall {
  return { id, type: 'function', function: { name, arguments: text } };
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Arguments for reading: JSON on lines of its own, and what is no JSON yet as it is. */
export function readableArguments(text: string): string {
  return isJson(text) ? JSON.stringify(JSON.parse(text), undefined, 2) : text;
}

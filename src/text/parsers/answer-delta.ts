/** A call that a model asks for. */
export interface ToolCall {
  readonly id: string;
  readonly type: 'function';
  readonly function: {
    readonly name: string;
    /** JSON of an object, as the model wrote it. */
    readonly arguments: string;
  };
}

/** News of a call: its id and name when it opens, then parts of its arguments. */
export interface ToolCallDelta {
  /** Number of the call in its answer, from 0 on. */
  readonly index: number;
  /** Present when the call opens. */
  readonly id?: string;
  /** Present when the call opens. */
  readonly name?: string;
  /** The next part of the arguments' JSON. */
  readonly arguments?: string;
}

/** A part of an answer, as parsers find it. */
export type AnswerDelta =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'reasoning'; readonly text: string }
  | { readonly type: 'toolCall'; readonly call: ToolCallDelta }
  /** The call turned out to be malformed: it counts as text, which follows as such. */
  | { readonly type: 'malformedCall'; readonly index: number };

/** Collects deltas; neighbours of a kind become one. */
export class DeltaList {
  #deltas: AnswerDelta[] = [];

  push(delta: AnswerDelta): void {
    const last = this.#deltas.at(-1);
    if (delta.type === 'text' || delta.type === 'reasoning') {
      if (delta.text === '') return;
      if (last?.type === delta.type) {
        this.#deltas[this.#deltas.length - 1] = { type: delta.type, text: last.text + delta.text };
        return;
      }
    }
    if (delta.type === 'toolCall' && last?.type === 'toolCall' && last.call.index === delta.call.index) {
      const { arguments: before = '' } = last.call;
      const { arguments: added = '' } = delta.call;
      this.#deltas[this.#deltas.length - 1] = { type: 'toolCall', call: { ...last.call, arguments: before + added } };
      return;
    }
    this.#deltas.push(delta);
  }

  take(): AnswerDelta[] {
    const taken = this.#deltas;
    this.#deltas = [];
    return taken;
  }
}

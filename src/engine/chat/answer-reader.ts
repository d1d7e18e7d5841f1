import type { AnswerDelta, ToolCallDelta } from '../../text/parsers/answer-delta.ts';
import { type AnswerForm, AnswerParser } from '../../text/parsers/answer-parser.ts';
import type { FinishReason } from '../request/request-output.ts';

/** Why an answer to a conversation ended: `tool_calls`, where it ends with calls. */
export type ChatFinishReason = FinishReason | 'tool_calls';

/** Splits one answer into text, thoughts and calls, token by token. */
export class AnswerReader {
  readonly #parser: AnswerParser;
  readonly #calls = new Set<number>();
  #reasoningTokens = 0;
  #finishReason: ChatFinishReason | null = null;

  constructor(form: AnswerForm) {
    this.#parser = new AnswerParser(form);
  }

  /** Tokens of thoughts so far. */
  get reasoningTokens(): number {
    return this.#reasoningTokens;
  }

  /** Set with the last token. */
  get finishReason(): ChatFinishReason | null {
    return this.#finishReason;
  }

  /** The parts that further tokens make certain. */
  push(tokens: readonly { readonly text: string }[], finishReason: FinishReason | null): AnswerDelta[] {
    const deltas: AnswerDelta[] = [];
    for (const { text } of tokens) {
      const wasThinking = this.#parser.isThinking;
      deltas.push(...this.#parser.push(text));
      if (wasThinking && this.#parser.isThinking) this.#reasoningTokens++;
    }
    if (finishReason !== null) deltas.push(...this.#parser.flush());
    for (const delta of deltas) {
      if (delta.type === 'toolCall') this.#calls.add(delta.call.index);
      if (delta.type === 'malformedCall') this.#calls.delete(delta.index);
    }
    // An answer that was cut off has not ended with its calls.
    const endsWithCalls = finishReason === 'stop' && this.#calls.size > 0;
    this.#finishReason = endsWithCalls ? 'tool_calls' : finishReason;
    return deltas;
  }
}

/** A call's news; `isMalformed`: it counts as text after all. */
export interface ChatToolCallDelta extends ToolCallDelta {
  readonly isMalformed?: true;
}

/** Some parts of an answer by their kind. */
export interface MergedDeltas {
  readonly text: string;
  readonly reasoning?: string;
  readonly toolCalls?: readonly ChatToolCallDelta[];
}

export function mergedDeltas(deltas: readonly AnswerDelta[]): MergedDeltas {
  let text = '';
  let reasoning = '';
  const calls = new Map<number, ChatToolCallDelta>();
  for (const delta of deltas) {
    if (delta.type === 'text') text += delta.text;
    else if (delta.type === 'reasoning') reasoning += delta.text;
    else if (delta.type === 'malformedCall') calls.set(delta.index, { ...calls.get(delta.index), ...malformed(delta) });
    else {
      const { index, arguments: added = '' } = delta.call;
      const known = calls.get(index);
      calls.set(index, { ...known, ...delta.call, arguments: (known?.arguments ?? '') + added });
    }
  }
  return {
    text,
    ...(reasoning !== '' && { reasoning }),
    ...(calls.size > 0 && { toolCalls: [...calls.values()] }),
  };
}

function malformed({ index }: { readonly index: number }): ChatToolCallDelta {
  return { index, isMalformed: true };
}

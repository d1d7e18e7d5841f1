import type { LanguageModelV4StreamPart } from '@ai-sdk/provider';
import type { ChatToolCallDelta } from '../../engine/chat/answer-reader.ts';
import type { ChatChunk } from '../../engine/chat/chat-chunk.ts';
import { finishReason, usage } from './results.ts';

/** A call that has begun. */
interface OpenCall {
  readonly id: string;
  readonly name: string;
  input: string;
}

/** Turns chunks of an answer into parts of the AI SDK's stream. */
export class StreamParts {
  /** Block of text or thoughts that has not ended. */
  #block: { readonly type: 'text' | 'reasoning'; readonly id: string } | undefined;
  #numBlocks = 0;
  readonly #calls = new Map<number, OpenCall>();

  *of({ text, reasoning, toolCalls = [], finishReason: reason, usage: tokens }: ChatChunk) {
    if (reasoning !== undefined) yield* this.#delta('reasoning', reasoning);
    for (const call of toolCalls) yield* this.#call(call);
    if (text !== '') yield* this.#delta('text', text);
    if (reason === null || tokens === undefined) return;
    yield* this.#endBlock();
    yield* this.#endCalls();
    yield { type: 'finish', finishReason: finishReason(reason), usage: usage(tokens) } as const;
  }

  *#delta(type: 'text' | 'reasoning', delta: string): Generator<LanguageModelV4StreamPart, void> {
    if (this.#block?.type !== type) {
      yield* this.#endBlock();
      yield* this.#endCalls();
      this.#block = { type, id: String(this.#numBlocks++) };
      yield { type: `${type}-start`, id: this.#block.id };
    }
    yield { type: `${type}-delta`, id: this.#block.id, delta };
  }

  *#endBlock(): Generator<LanguageModelV4StreamPart, void> {
    const block = this.#block;
    this.#block = undefined;
    if (block) yield { type: `${block.type}-end`, id: block.id };
  }

  *#call(delta: ChatToolCallDelta): Generator<LanguageModelV4StreamPart, void> {
    const { index, id, name = '', arguments: added = '', isMalformed } = delta;
    yield* this.#endBlock();
    if (id !== undefined) {
      yield* this.#endCalls();
      this.#calls.set(index, { id, name, input: '' });
      yield { type: 'tool-input-start', id, toolName: name };
    }
    const call = this.#calls.get(index);
    if (!call) return;
    call.input += added;
    if (added !== '') yield { type: 'tool-input-delta', id: call.id, delta: added };
    if (!isMalformed) return;
    // It is no call after all; its text follows.
    this.#calls.delete(index);
    yield { type: 'tool-input-end', id: call.id };
  }

  *#endCalls(): Generator<LanguageModelV4StreamPart, void> {
    for (const { id, name, input } of this.#calls.values()) {
      yield { type: 'tool-input-end', id };
      yield { type: 'tool-call', toolCallId: id, toolName: name, input };
    }
    this.#calls.clear();
  }
}

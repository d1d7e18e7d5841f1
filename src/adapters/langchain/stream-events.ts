import { finalizeContentBlock } from '@langchain/core/language_models/compat';
import type { ChatModelStreamEvent } from '@langchain/core/language_models/event';
import type { ContentBlock } from '@langchain/core/messages';
import type { ChatFinishReason, ChatToolCallDelta } from '../../engine/chat/answer-reader.ts';
import type { ChatChunk } from '../../engine/chat/chat-chunk.ts';
import { usageMetadata } from './results.ts';

type Block = { readonly index: number } & (
  | { readonly type: 'text' | 'reasoning'; text: string }
  | { readonly type: 'tool_call_chunk'; readonly id: string; readonly name: string; args: string }
);

/** Turns chunks of an answer into events of LangChain's stream of content blocks. */
export class StreamEvents {
  #numBlocks = 0;
  /** Block of text or thoughts that has not ended. */
  #block: Extract<Block, { type: 'text' | 'reasoning' }> | undefined;
  readonly #calls = new Map<number, Extract<Block, { type: 'tool_call_chunk' }>>();

  *of({ text, reasoning, toolCalls = [], finishReason, usage }: ChatChunk): Generator<ChatModelStreamEvent, void> {
    if (reasoning !== undefined) yield* this.#delta('reasoning', reasoning);
    for (const call of toolCalls) yield* this.#call(call);
    if (text !== '') yield* this.#delta('text', text);
    if (finishReason === null) return;
    yield* this.#endBlock();
    for (const { index, ...block } of this.#calls.values()) yield finish(index, block);
    yield { event: 'message-finish', reason: REASONS[finishReason], ...(usage && { usage: usageMetadata(usage) }) };
  }

  *#delta(type: 'text' | 'reasoning', delta: string): Generator<ChatModelStreamEvent, void> {
    if (this.#block?.type !== type) {
      yield* this.#endBlock();
      this.#block = { type, index: this.#numBlocks++, text: '' };
      yield { event: 'content-block-start', index: this.#block.index, content: contentBlock(type, '') };
    }
    this.#block.text += delta;
    const news =
      type === 'text'
        ? ({ type: 'text-delta', text: delta } as const)
        : ({ type: 'reasoning-delta', reasoning: delta } as const);
    yield { event: 'content-block-delta', index: this.#block.index, delta: news };
  }

  *#endBlock(): Generator<ChatModelStreamEvent, void> {
    const block = this.#block;
    this.#block = undefined;
    if (block) yield finish(block.index, contentBlock(block.type, block.text));
  }

  *#call(delta: ChatToolCallDelta): Generator<ChatModelStreamEvent, void> {
    const { index: number, id, name = '', arguments: args = '', isMalformed } = delta;
    yield* this.#endBlock();
    if (id !== undefined) {
      const block = { type: 'tool_call_chunk', index: this.#numBlocks++, id, name, args: '' } as const;
      this.#calls.set(number, { ...block });
      yield { event: 'content-block-start', index: block.index, content: block };
    }
    const call = this.#calls.get(number);
    if (!call) return;
    call.args += args;
    if (args !== '') {
      yield { event: 'content-block-delta', index: call.index, delta: { type: 'tool-call-delta', args } };
    }
    if (!isMalformed) return;
    this.#calls.delete(number);
    const error = 'The model did not end the call: its text follows.';
    yield finish(call.index, { type: 'invalid_tool_call', id: call.id, name: call.name, args: call.args, error });
  }
}

const REASONS = { stop: 'stop', length: 'length', tool_calls: 'tool_use' } as const satisfies Record<
  ChatFinishReason,
  string
>;

function contentBlock(type: 'text' | 'reasoning', text: string): ContentBlock {
  return type === 'text' ? { type, text } : { type, reasoning: text };
}

function finish(index: number, content: ContentBlock): ChatModelStreamEvent {
  return { event: 'content-block-finish', index, content: finalizeContentBlock(content) };
}

import type { AnswerDelta, ToolCallDelta } from '../../text/parsers/answer-delta.ts';
import { LongText } from '../../util/long-text.ts';
import { callInput } from '../answer/call-input.ts';
import type { ContentBlock, ContentBlockDelta, MessageEvent, ToolUseBlock } from './message.ts';

/** A call that has not been sent: it may turn out to be malformed. */
interface HeldCall {
  readonly id: string;
  readonly name: string;
  arguments: string;
}

/** Turns the parts of an answer into events about content blocks, of which one is open at a time. */
export class ContentBlocks {
  /** Signature of thoughts, of which the API wants one. */
  readonly #signature: string;
  /** Names of tools whose inputs are sent while they grow. */
  readonly #eagerTools: ReadonlySet<string>;
  #index = -1;
  #open: ContentBlock['type'] | undefined;
  #held: HeldCall | undefined;

  constructor(signature: string, eagerTools: ReadonlySet<string> = new Set()) {
    this.#signature = signature;
    this.#eagerTools = eagerTools;
  }

  /** Events for the next parts of the answer. */
  *push(deltas: readonly AnswerDelta[]): Generator<MessageEvent, void> {
    for (const delta of deltas) {
      if (delta.type === 'toolCall') yield* this.#call(delta.call);
      else if (delta.type === 'malformedCall') yield* this.#malformedCall();
      else if (delta.type === 'text') {
        if (this.#open !== 'text') yield* this.#start({ type: 'text', text: '', citations: null });
        yield this.#delta({ type: 'text_delta', text: delta.text });
      } else {
        if (this.#open !== 'thinking') yield* this.#start({ type: 'thinking', thinking: '', signature: '' });
        yield this.#delta({ type: 'thinking_delta', thinking: delta.text });
      }
    }
  }

  /** The last events, once no part follows. */
  *end(): Generator<MessageEvent, void> {
    yield* this.#sendHeld();
    yield* this.#stop();
  }

  *#call({ id, name = '', arguments: json = '' }: ToolCallDelta): Generator<MessageEvent, void> {
    if (id !== undefined) {
      yield* this.end();
      if (!this.#eagerTools.has(name)) this.#held = { id, name, arguments: json };
      else {
        yield* this.#start(toolUse(id, name));
        yield this.#delta({ type: 'input_json_delta', partial_json: json });
      }
    } else if (this.#held !== undefined) {
      this.#held.arguments += json;
    } else {
      yield this.#delta({ type: 'input_json_delta', partial_json: json });
    }
  }

  /** The text of the call follows. A block that was sent can't be taken back. */
  *#malformedCall(): Generator<MessageEvent, void> {
    if (this.#held !== undefined) this.#held = undefined;
    else yield* this.#stop();
  }

  *#sendHeld(): Generator<MessageEvent, void> {
    const held = this.#held;
    if (held === undefined) return;
    this.#held = undefined;
    yield* this.#start(toolUse(held.id, held.name));
    yield this.#delta({ type: 'input_json_delta', partial_json: held.arguments });
    yield* this.#stop();
  }

  *#start(block: ContentBlock): Generator<MessageEvent, void> {
    yield* this.#sendHeld();
    yield* this.#stop();
    this.#open = block.type;
    yield { type: 'content_block_start', index: ++this.#index, content_block: block };
  }

  *#stop(): Generator<MessageEvent, void> {
    if (this.#open === undefined) return;
    if (this.#open === 'thinking') yield this.#delta({ type: 'signature_delta', signature: this.#signature });
    this.#open = undefined;
    yield { type: 'content_block_stop', index: this.#index };
  }

  #delta(delta: ContentBlockDelta): MessageEvent {
    return { type: 'content_block_delta', index: this.#index, delta };
  }
}

/** Puts content blocks together again from their events. */
export class CollectedBlocks {
  readonly #parts: { readonly block: ContentBlock; readonly text: LongText; signature: string }[] = [];

  add(event: MessageEvent): void {
    if (event.type === 'content_block_start') {
      this.#parts.push({ block: event.content_block, text: new LongText(), signature: '' });
    }
    const last = this.#parts.at(-1);
    if (event.type !== 'content_block_delta' || last === undefined) return;
    const { delta } = event;
    if (delta.type === 'text_delta') last.text.add(delta.text);
    else if (delta.type === 'thinking_delta') last.text.add(delta.thinking);
    else if (delta.type === 'input_json_delta') last.text.add(delta.partial_json);
    else last.signature = delta.signature;
  }

  get blocks(): readonly ContentBlock[] {
    return this.#parts.map(({ block, text, signature }) => {
      if (block.type === 'text') return { ...block, text: text.toString() };
      if (block.type === 'thinking') return { ...block, thinking: text.toString(), signature };
      return { ...block, input: callInput(text.toString()) };
    });
  }
}

function toolUse(id: string, name: string): ToolUseBlock {
  return { type: 'tool_use', id, name, input: {}, caller: { type: 'direct' } };
}

import { ChatTemplateError, ContextLengthError, TokenizerError } from '../errors.ts';
import { type ChatMessage, ChatTemplate, type ChatTemplateOptions } from './chat/chat-template.ts';
import type { TextParts } from './text-source.ts';
import { isShownIn, TokenTexts } from './token-texts.ts';
import { assertTokenId, type TextTokenizer } from './tokenizer.ts';

/** A text, or a conversation that a chat template turns into one. */
export type TextInput =
  | { readonly text: string; readonly addSpecialTokens: boolean }
  | {
      readonly messages: readonly ChatMessage[];
      /** Jinja source in place of the model's template. */
      readonly template?: string | undefined;
      readonly options: Omit<ChatTemplateOptions, 'bosToken' | 'eosToken' | 'namedTokens'>;
    };

/** Work with texts that can take long: plain data, so that another thread can do it. */
export type TextJob =
  /** Token ids of a text. */
  | { readonly type: 'encode'; readonly input: TextInput; readonly maxCharacters: number }
  /** Token ids of a text as a JSON list, and on request the tokens' texts. */
  | { readonly type: 'list'; readonly input: TextInput; readonly maxCharacters: number; readonly tokenTexts: boolean }
  /** The text of token ids below `vocabSize`, special tokens included. */
  | { readonly type: 'decode'; readonly ids: Float64Array<ArrayBuffer>; readonly vocabSize: number };

/** Results of the jobs. JSON is UTF-8. */
export interface TextResults {
  readonly encode: Int32Array<ArrayBuffer>;
  readonly list: {
    readonly count: number;
    readonly ids: Uint8Array<ArrayBuffer>;
    readonly tokenTexts: Uint8Array<ArrayBuffer> | undefined;
  };
  /** A JSON string. */
  readonly decode: Uint8Array<ArrayBuffer>;
}

export type TextResult = TextResults[TextJob['type']];

/** Does text jobs on the calling thread. */
export class TextWork {
  readonly #parts: TextParts;
  /** The last template that came with a job. */
  #template: { readonly source: string; readonly template: ChatTemplate } | undefined;

  constructor(parts: TextParts) {
    this.#parts = parts;
  }

  /** @throws ChatTemplateError, ContextLengthError, TokenIdError, TokenizerError */
  run<T extends TextJob['type']>(job: Extract<TextJob, { type: T }>): TextResults[T];
  run(job: TextJob): TextResult {
    switch (job.type) {
      case 'encode':
        return Int32Array.from(this.#encode(job.input, job.maxCharacters));
      case 'list': {
        const ids = this.#encode(job.input, job.maxCharacters);
        const text = 'text' in job.input ? job.input.text : undefined;
        const texts = job.tokenTexts ? this.#tokenTexts(ids, text) : undefined;
        return { count: ids.length, ids: jsonBytes(ids), tokenTexts: texts && jsonBytes(texts) };
      }
      case 'decode':
        for (const id of job.ids) assertTokenId(id, job.vocabSize, this.#tokenizer);
        return jsonBytes(this.#decode([...job.ids]));
    }
  }

  #encode(input: TextInput, maxCharacters: number): number[] {
    // A template writes the special tokens itself.
    const [text, addSpecialTokens] =
      'text' in input ? [input.text, input.addSpecialTokens] : [this.#render(input), false];
    if (text.length > maxCharacters) {
      throw new ContextLengthError(
        `The text has ${text.length} characters; ${maxCharacters} are taken.`,
        'Shorten it.',
      );
    }
    return this.#tokenizer.encode(text, { addSpecialTokens });
  }

  #render({ messages, template, options }: Extract<TextInput, { messages: unknown }>): string {
    const { namedTokens } = this.#tokenizer;
    return this.#templateOf(template).render(messages, { ...options, namedTokens });
  }

  #templateOf(source: string | undefined): ChatTemplate {
    const own = this.#parts.chatTemplate;
    if (source === undefined && own) return own;
    if (source === undefined) {
      throw new ChatTemplateError('The model has no chat template.', 'Use generate() with a text prompt instead.');
    }
    if (this.#template?.source !== source) this.#template = { source, template: new ChatTemplate(source) };
    return this.#template.template;
  }

  /**
   * Each token as it is written in the text; joined, they are the text. A conversation's text has all its special
   * tokens.
   */
  #tokenTexts(ids: readonly number[], text: string | undefined): string[] {
    const tokenizer = this.#tokenizer;
    const texts = new TokenTexts(tokenizer, { skipSpecialTokens: false });
    return ids.map((id, i) => {
      const isShown = text === undefined || isShownIn(text, texts.offset, id, tokenizer);
      return texts.next({ id, isShown, isLast: i === ids.length - 1 }).token;
    });
  }

  #decode(ids: readonly number[]): string {
    return this.#tokenizer.decode(ids, { skipSpecialTokens: false });
  }

  get #tokenizer(): TextTokenizer {
    if (this.#parts.tokenizer) return this.#parts.tokenizer;
    throw new TokenizerError('The model has no tokenizer.json.', 'Pass token ids, or add the file.');
  }
}

function jsonBytes(value: unknown): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(value));
}

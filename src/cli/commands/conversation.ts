import type { LLM } from '../../engine/llm.ts';
import type { GenerateOptions } from '../../engine/sample/sampling-params.ts';
import type { ChatMessage } from '../../text/chat/chat-template.ts';

/** The messages so far, and the model that continues them. */
export class Conversation {
  readonly #llm: LLM;
  readonly #opening: readonly ChatMessage[];
  readonly #sampling: GenerateOptions;
  #messages: readonly ChatMessage[];

  /** @param opening messages that a reset keeps. */
  constructor(llm: LLM, opening: readonly ChatMessage[], sampling: GenerateOptions) {
    this.#llm = llm;
    this.#opening = opening;
    this.#sampling = sampling;
    this.#messages = opening;
  }

  /**
   * Hands the model's answer over piece by piece, and its thoughts to `think`, if that is given. An answer that ends early, by the signal or an error, is remembered
   * as far as it came; with no answer at all the message is forgotten too, so that roles keep alternating.
   */
  async answer(
    content: string,
    signal: AbortSignal,
    write: (text: string) => Promise<void>,
    think?: (text: string) => Promise<void>,
  ): Promise<void> {
    const asked = [...this.#messages, { role: 'user', content }];
    let answer = '';
    let thoughts = '';
    try {
      for await (const { text, reasoning } of this.#llm.chat(asked, { ...this.#sampling, signal })) {
        if (reasoning !== undefined) {
          thoughts += reasoning;
          await think?.(reasoning);
        }
        if (text !== '' && answer === '' && thoughts !== '') await think?.('\n\n');
        answer += text;
        await write(text);
      }
    } finally {
      const thought = thoughts === '' ? {} : { reasoning_content: thoughts };
      if (answer !== '') this.#messages = [...asked, { role: 'assistant', content: answer, ...thought }];
    }
  }

  /** Forgets everything but the opening. */
  reset(): void {
    this.#messages = this.#opening;
  }
}

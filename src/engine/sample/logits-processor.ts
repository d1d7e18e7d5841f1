import { LogitsProcessorError } from '../../errors.ts';
import { overLogits } from './over-logits.ts';

/** The answer whose next token a processor has a say in. */
export interface LogitsContext {
  /** Number of token ids that are the prompt; those after them are the answer. */
  readonly numPromptTokens: number;
  /** Which of the `n` answers. */
  readonly index: number;
}

/**
 * Changes the logits of an answer's next token, in place: -Infinity forbids a token, and forbidding all others forces it.
 *
 * It is called once for each token, in their order, on the thread that called `generate`, and all requests wait until it
 * returns. `tokenIds` are prompt and answer so far. Both arrays are the engine's again when it has returned: copy what is
 * to be kept.
 *
 * @example
 * ```ts
 * const noDigits: LogitsProcessor = (_tokenIds, logits) => {
 *   for (let id = 0; id < logits.length; id++) if (/\d/.test(tokenizer.tokenText(id))) logits[id] = -Infinity;
 * };
 * const { text } = await llm.complete('export interface ', { logitsProcessors: [noDigits] });
 * ```
 */
export type LogitsProcessor = (tokenIds: readonly number[], logits: Float32Array, context: LogitsContext) => void;

/** The processors of one answer, which know its tokens. */
export class LogitsProcessors {
  readonly #processors: readonly LogitsProcessor[];
  /** A copy of its own, which a processor may spoil for its own answer only. */
  readonly #tokenIds: number[];
  readonly #context: LogitsContext;

  constructor(processors: readonly LogitsProcessor[], prompt: readonly number[], index: number) {
    this.#processors = processors;
    this.#tokenIds = [...prompt];
    this.#context = { numPromptTokens: prompt.length, index };
  }

  /** A token was chosen. */
  accept(tokenId: number): void {
    this.#tokenIds.push(tokenId);
  }

  /** Changes the model's own logits. @throws LogitsProcessorError */
  apply(logits: Float32Array): void {
    // The sampler reports logits of the model that are no numbers.
    if (!hasLikeliest(logits)) return;
    for (const [i, processor] of this.#processors.entries()) {
      const name = `logitsProcessors[${i}]`;
      const returned = this.#call(processor, logits, name);
      if (returned !== undefined && returned !== logits) {
        const what = returned instanceof Promise ? 'a promise' : `a value (${typeof returned})`;
        throw new LogitsProcessorError(`${name} returned ${what}.`, 'Change the logits in place before returning.');
      }
      if (hasLikeliest(logits)) continue;
      throw new LogitsProcessorError(
        `${name} left logits that are NaN, Infinity, or all -Infinity, so no token can be chosen.`,
        'Leave at least one finite logit; to force a token, make all others -Infinity.',
      );
    }
  }

  /** @throws LogitsProcessorError where what they left is forbidden. */
  assertChoice(logits: Float32Array): void {
    if (hasLikeliest(logits)) return;
    throw new LogitsProcessorError(
      "logitsProcessors left only tokens that the request's other options forbid.",
      'Leave tokens that structuredOutputs, badWords and minTokens allow.',
    );
  }

  #call(processor: LogitsProcessor, logits: Float32Array, name: string): unknown {
    try {
      return processor(this.#tokenIds, logits, this.#context);
    } catch (cause) {
      const message = cause instanceof Error ? cause.message : String(cause);
      throw new LogitsProcessorError(`${name} failed: ${message}`, '', { cause });
    }
  }
}

/** Whether the largest logit is a finite number, and none is NaN. */
function hasLikeliest(logits: Float32Array): boolean {
  return Number.isFinite(overLogits.largest(logits));
}

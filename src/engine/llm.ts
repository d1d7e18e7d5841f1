import { ChatTemplateError, DisposedError, EmptyPromptError, TokenIdError, TokenizerError } from '../errors.ts';
import type { ModelConfig } from '../models/causal-lm.ts';
import type { ChatMessage, ChatTemplate } from '../text/chat-template.ts';
import type { TextTokenizer } from '../text/tokenizer.ts';
import { yieldToEventLoop } from './event-loop.ts';
import { type FinishReason, type GenerationChunk, type GenerationContext, generate } from './generation.ts';
import { type LoadedModel, type LoadOptions, loadModel } from './load-model.ts';
import { logSumExp } from './sampler.ts';
import { type GenerateOptions, resolveSamplingParams, type SamplingDefaults } from './sampling-params.ts';

/** Text, or token ids. */
export type Prompt = string | readonly number[];

/** What evaluating a prompt may be watched and ended with. */
export interface EvaluationOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called with the number of tokens processed so far. */
  readonly onTokens?: ((count: number) => void) | undefined;
}

/** A whole generation at once. */
export interface Completion {
  readonly promptTokenIds: readonly number[];
  readonly tokenIds: readonly number[];
  readonly text: string;
  readonly finishReason: FinishReason;
}

/** A loaded model: text or token ids in, text and tokens out. */
export class LLM {
  /** The folder, or its URL, that the model was loaded from. */
  readonly folder: string;
  readonly config: ModelConfig;
  /** Absent where the folder has no tokenizer.json; then prompts are token ids. */
  readonly tokenizer: TextTokenizer | undefined;
  readonly #chatTemplate: ChatTemplate | undefined;
  readonly #context: GenerationContext;
  readonly #samplingDefaults: SamplingDefaults;
  #disposed = false;

  private constructor(parts: LoadedModel) {
    this.folder = parts.folder;
    this.config = parts.config;
    this.tokenizer = parts.tokenizer;
    this.#chatTemplate = parts.chatTemplate;
    this.#context = parts.context;
    this.#samplingDefaults = parts.samplingDefaults;
  }

  /**
   * Loads a model from a local folder, by the name of a bundled model, from the URL of a folder, or by a hub id
   * (`org/name`, `org/name@revision`). A browser has URLs and hub ids only. Rejects with the error class of what is wrong: see `errors.ts`. An aborted load rejects with the signal's reason.
   */
  static async load(source: string, options: LoadOptions = {}): Promise<LLM> {
    return new LLM(await loadModel(source, options));
  }

  /**
   * Generates token by token. The iterator throws EmptyPromptError, TokenIdError, TokenizerError or
   * SamplingParamsError before the first token, and the signal's reason when it is aborted. Leaving the loop early
   * frees what the generation held.
   */
  async *generate(prompt: Prompt, options: GenerateOptions = {}): AsyncGenerator<GenerationChunk, void> {
    this.#assertUsable();
    const params = resolveSamplingParams(options, this.#samplingDefaults);
    if (params.stop.length > 0) this.#requireTokenizer('Stop strings');
    yield* generate(this.#context, this.tokenize(prompt), params, options.signal);
  }

  /** Generates an answer to a conversation, through the model's chat template. Chunks are those of `generate`. */
  async *chat(messages: readonly ChatMessage[], options: GenerateOptions = {}): AsyncGenerator<GenerationChunk, void> {
    const text = this.renderChat(messages);
    // The template writes the special tokens itself.
    const promptTokenIds = this.#requireTokenizer('A conversation').encode(text, { addSpecialTokens: false });
    yield* this.generate(promptTokenIds, options);
  }

  /** Generates to the end and returns everything at once. */
  async complete(prompt: Prompt, options: GenerateOptions = {}): Promise<Completion> {
    const promptTokenIds = this.tokenize(prompt);
    const tokenIds: number[] = [];
    let text = '';
    let finishReason: FinishReason = 'length';
    for await (const chunk of this.generate(promptTokenIds, options)) {
      tokenIds.push(chunk.tokenId);
      text += chunk.text;
      finishReason = chunk.finishReason ?? finishReason;
    }
    return { promptTokenIds, tokenIds, text, finishReason };
  }

  /** Logits at every position: (T, vocabSize), row-major. */
  async logits(prompt: Prompt, options: EvaluationOptions = {}): Promise<Float32Array> {
    const tokenIds = this.tokenize(prompt);
    const { vocabSize } = this.config;
    const all = new Float32Array(tokenIds.length * vocabSize);
    await this.#forEachChunk(tokenIds, options, (logits, begin) => all.set(logits, begin * vocabSize));
    return all;
  }

  /** Natural log of each token's probability given those before it: (T - 1), for tokens 1 to T - 1. */
  async logprobs(prompt: Prompt, options: EvaluationOptions = {}): Promise<Float64Array> {
    const tokenIds = this.tokenize(prompt);
    const { vocabSize } = this.config;
    const logprobs = new Float64Array(tokenIds.length - 1);
    await this.#forEachChunk(tokenIds, options, (logits, begin) => {
      for (let t = begin; t < Math.min(begin + logits.length / vocabSize, logprobs.length); t++) {
        const row = logits.subarray((t - begin) * vocabSize, (t - begin + 1) * vocabSize);
        logprobs[t] = row[tokenIds[t + 1]] - logSumExp(row);
      }
    });
    return logprobs;
  }

  /** Token ids of a prompt, checked. @throws TokenizerError, EmptyPromptError, TokenIdError */
  tokenize(prompt: Prompt): readonly number[] {
    const tokenIds = typeof prompt === 'string' ? this.#requireTokenizer('A text prompt').encode(prompt) : prompt;
    const { vocabSize } = this.config;
    if (tokenIds.length === 0) throw new EmptyPromptError('The prompt has no tokens.', 'Give at least one.');
    const wrong = tokenIds.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
    if (wrong !== undefined) {
      throw new TokenIdError(`Token id ${wrong} is outside the vocabulary.`, `Ids run from 0 to ${vocabSize - 1}.`);
    }
    return tokenIds;
  }

  /** A conversation as the text that the model was trained on. @throws ChatTemplateError */
  renderChat(messages: readonly ChatMessage[]): string {
    if (!this.#chatTemplate) {
      throw new ChatTemplateError(
        `'${this.folder}' has no chat template.`,
        'Use generate() with a text prompt instead.',
      );
    }
    return this.#chatTemplate.render(messages, {
      bosToken: this.tokenizer?.bosToken,
      eosToken: this.tokenizer?.eosToken,
    });
  }

  /** Frees the model. Running generations end with DisposedError; so does every later call. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    await this.#context.executor.dispose();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  /** Runs all tokens through a fresh slot and hands over the logits of each chunk with its first position. */
  async #forEachChunk(
    tokenIds: readonly number[],
    { signal, onTokens }: EvaluationOptions,
    receive: (logits: Float32Array, begin: number) => void,
  ): Promise<void> {
    this.#assertUsable();
    const { executor, slots, maxNumBatchedTokens } = this.#context;
    const slot = await slots.acquire(signal);
    try {
      for (let begin = 0; begin < tokenIds.length; begin += maxNumBatchedTokens) {
        signal?.throwIfAborted();
        const chunk = tokenIds.slice(begin, begin + maxNumBatchedTokens);
        const sequences = [{ slot, numComputedTokens: begin, tokenIds: chunk }];
        receive(await executor.execute({ sequences, logits: 'all' }), begin);
        onTokens?.(begin + chunk.length);
        await yieldToEventLoop();
      }
    } finally {
      slots.release(slot);
    }
  }

  #assertUsable(): void {
    if (this.#disposed) throw new DisposedError('The model was disposed of.', 'Load it again.');
  }

  #requireTokenizer(what: string): TextTokenizer {
    if (this.tokenizer) return this.tokenizer;
    throw new TokenizerError(
      `${what} needs a tokenizer, and '${this.folder}' has no tokenizer.json.`,
      'Pass token ids, or add the file.',
    );
  }
}

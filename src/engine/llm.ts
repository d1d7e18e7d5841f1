import { Checkpoint } from '../checkpoint/checkpoint.ts';
import { ConfigReader } from '../checkpoint/config-reader.ts';
import type { JsonObject } from '../checkpoint/json.ts';
import { resolveModel } from '../checkpoint/model-source.ts';
import type { HubOptions } from '../checkpoint/hub-options.ts';
import { singleProcess } from '../distributed/process-group.ts';
import { ArgumentError, ChatTemplateError, DisposedError, EmptyPromptError, ShardingError, TokenIdError, TokenizerError } from '../errors.ts';
import type { ModelConfig } from '../models/causal-lm.ts';
import { defineModel } from '../models/registry.ts';
import { readTokenIds } from '../models/token-ids.ts';
import { type ChatMessage, ChatTemplate } from '../text/chat-template.ts';
import { TextTokenizer } from '../text/tokenizer.ts';
import { createBackend, type Device, weightStorage } from './devices.ts';
import type { Executor } from './executor.ts';
import { type FinishReason, type GenerationChunk, type GenerationContext, generate } from './generation.ts';
import { loadRank, type RankOptions } from './load-rank.ts';
import { logSumExp } from './sampler.ts';
import { type GenerateOptions, resolveSamplingParams, type SamplingDefaults } from './sampling-params.ts';
import { StateSlots } from './state-slots.ts';

/** How {@link LLM.load} finds and holds a model. Hub options apply where the source is a hub id. */
export interface LoadOptions extends Omit<HubOptions, 'fetch'> {
  /** Default: auto. */
  readonly device?: Device | undefined;
  /** How weights are stored: auto (as in the checkpoint), float32, bfloat16, float16, int8 or int4. Default: auto. */
  readonly dtype?: string | undefined;
  /** Threads that share the model; divides its heads. Default: 1. */
  readonly tensorParallelSize?: number | undefined;
  /** Sequences whose state is kept at once; further ones wait. Default: 16. */
  readonly maxNumSeqs?: number | undefined;
  /** Prompt tokens processed in one step. Default: 512. */
  readonly maxNumBatchedTokens?: number | undefined;
  /** Refuse weights that are NaN or infinite. Default: false. */
  readonly checkFinite?: boolean | undefined;
}

/** Text, or token ids. */
export type Prompt = string | readonly number[];

/** A whole generation at once. */
export interface Completion {
  readonly promptTokenIds: readonly number[];
  readonly tokenIds: readonly number[];
  readonly text: string;
  readonly finishReason: FinishReason;
}

interface Parts {
  readonly folder: string;
  readonly config: ModelConfig;
  readonly tokenizer: TextTokenizer | undefined;
  readonly chatTemplate: ChatTemplate | undefined;
  readonly context: GenerationContext;
  readonly samplingDefaults: SamplingDefaults;
}

/** A loaded model: text or token ids in, text and tokens out. */
export class LLM {
  /** The folder that the model was loaded from. */
  readonly folder: string;
  readonly config: ModelConfig;
  /** Absent where the folder has no tokenizer.json; then prompts are token ids. */
  readonly tokenizer: TextTokenizer | undefined;
  readonly #chatTemplate: ChatTemplate | undefined;
  readonly #context: GenerationContext;
  readonly #samplingDefaults: SamplingDefaults;
  #disposed = false;

  private constructor(parts: Parts) {
    this.folder = parts.folder;
    this.config = parts.config;
    this.tokenizer = parts.tokenizer;
    this.#chatTemplate = parts.chatTemplate;
    this.#context = parts.context;
    this.#samplingDefaults = parts.samplingDefaults;
  }

  /**
   * Loads a model from a local folder, by the name of a bundled model, or by a hub id (`org/name`, `org/name@revision`).
   * Rejects with the error class of what is wrong: see `errors.ts`. An aborted load rejects with the signal's reason.
   */
  static async load(source: string, options: LoadOptions = {}): Promise<LLM> {
    const { tensorParallelSize = 1, maxNumSeqs = 16, maxNumBatchedTokens = 512, signal } = options;
    for (const [name, value] of Object.entries({ tensorParallelSize, maxNumSeqs, maxNumBatchedTokens })) {
      if (!Number.isInteger(value) || value < 1) {
        throw new ArgumentError(`${name} is ${value}.`, 'Use a whole number from 1 on.');
      }
    }
    const rankOptions: RankOptions = {
      name: source,
      device: options.device ?? 'auto',
      dtype: options.dtype ?? 'auto',
      slots: maxNumSeqs,
      checkFinite: options.checkFinite ?? false,
    };
    // Unknown names fail before anything is fetched.
    createBackend(rankOptions.device);
    weightStorage(rankOptions.dtype, 'float32');

    const folder = await resolveModel(source, options);
    const checkpoint = await Checkpoint.open(folder, { signal });
    try {
      const { config } = defineModel(checkpoint.config);
      const tokenizer = await TextTokenizer.fromFolder(folder);
      tokenizer?.assertFits(config.vocabSize);
      const chatTemplate = await ChatTemplate.fromFolder(folder);
      const executor = await startRanks(checkpoint, config, tensorParallelSize, rankOptions, options);
      options.onProgress?.({ status: 'ready', name: source });
      const generationConfig = checkpoint.generationConfig ?? {};
      const eosTokenIds = [
        ...new Set([...config.eosTokenIds, ...readTokenIds(generationConfig, 'eos_token_id', 'generation_config.json')]),
      ];
      const slots = new StateSlots(maxNumSeqs);
      return new LLM({
        folder,
        config,
        tokenizer,
        chatTemplate,
        context: { executor, slots, tokenizer, eosTokenIds, maxNumBatchedTokens },
        samplingDefaults: readSamplingDefaults(generationConfig),
      });
    } finally {
      await checkpoint.close();
    }
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
  async logits(prompt: Prompt, options: { readonly signal?: AbortSignal | undefined } = {}): Promise<Float32Array> {
    const tokenIds = this.tokenize(prompt);
    const { vocabSize } = this.config;
    const all = new Float32Array(tokenIds.length * vocabSize);
    await this.#forEachChunk(tokenIds, options.signal, (logits, begin) => all.set(logits, begin * vocabSize));
    return all;
  }

  /** Natural log of each token's probability given those before it: (T - 1), for tokens 1 to T - 1. */
  async logprobs(prompt: Prompt, options: { readonly signal?: AbortSignal | undefined } = {}): Promise<Float64Array> {
    const tokenIds = this.tokenize(prompt);
    const { vocabSize } = this.config;
    const logprobs = new Float64Array(tokenIds.length - 1);
    await this.#forEachChunk(tokenIds, options.signal, (logits, begin) => {
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
      throw new ChatTemplateError(`'${this.folder}' has no chat template.`, 'Use generate() with a text prompt instead.');
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
    signal: AbortSignal | undefined,
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

async function startRanks(
  checkpoint: Checkpoint,
  config: ModelConfig,
  size: number,
  options: RankOptions,
  watch: LoadOptions,
): Promise<Executor> {
  if (size === 1) return loadRank(checkpoint, singleProcess, options, watch);
  if (config.numHeads % size !== 0) {
    throw new ShardingError(
      `tensorParallelSize is ${size}, which does not divide the model's ${config.numHeads} heads.`,
      'Use a divisor of the heads.',
    );
  }
  // Loaded on need: one rank works where there are no threads.
  const { RankExecutor } = await import('./rank-executor.ts');
  return RankExecutor.load(checkpoint.folder, size, options, watch);
}

/** The sampling values that a model's authors recommend. */
function readSamplingDefaults(generationConfig: JsonObject): SamplingDefaults {
  const config = new ConfigReader(generationConfig, 'generation_config.json');
  const optional = { temperature: 'temperature', topP: 'top_p', topK: 'top_k', minP: 'min_p', repetitionPenalty: 'repetition_penalty' };
  const found = Object.entries(optional).map(([name, key]) => [name, config.optionalNumber(key)] as const);
  return Object.fromEntries(found.filter(([, value]) => value !== undefined));
}

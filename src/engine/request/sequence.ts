import { MAX_END_TOKENS, type TokenSampling } from '../../backends/contract/sampling.ts';
import type { StopStrings } from '../../text/stop-strings.ts';
import type { TextTokenizer } from '../../text/tokenizer.ts';
import type { LogitsConstraints } from '../sample/logits-processor.ts';
import { type Sample, Sampler } from '../sample/sampler.ts';
import { HalfLifeMeter } from './half-lives.ts';
import type { Request } from './request.ts';
import type { CompletionOutput, FinishReason } from './request-output.ts';
import { TextOutput } from './text-output.ts';

/** What a request's sequences share. */
export interface SequenceContext {
  readonly tokenizer: TextTokenizer | undefined;
  readonly constraints: LogitsConstraints;
  readonly stops: StopStrings;
  readonly eosTokenIds: ReadonlySet<number>;
  /** Tokens of prompt and answer together that end the answer. */
  readonly maxModelLen: number;
}

/** One of a request's answers: its tokens, where its state is, and how its next token is chosen. */
export class Sequence {
  readonly request: Request;
  readonly index: number;
  /** Prompt and answer. */
  readonly tokenIds: number[];
  readonly numPromptTokens: number;
  /** Tokens whose effect is in the slot. */
  numComputedTokens = 0;
  /** undefined: it waits, or is over. */
  slot: number | undefined;
  /** Of the key-value cache, for all of its tokens as long as it has a slot. */
  blocks: readonly number[] = [];
  /** Those after all of its tokens, where they are known before a step. */
  knownLogits: Float32Array | undefined;
  /** How often others were served before it though they came later, or took its place. */
  setbacks = 0;
  finishReason: FinishReason | null = null;
  stopReason: string | number | null = null;
  /** When its last token came, in milliseconds. */
  lastTokenAt: number | undefined;
  /** Where the request asks for them. */
  readonly halfLives: HalfLifeMeter | undefined;
  readonly #eosTokenIds: ReadonlySet<number>;
  readonly #maxModelLen: number;
  readonly #sampler: Sampler;
  readonly #output: TextOutput;

  constructor(request: Request, index: number, context: SequenceContext) {
    const { tokenizer, constraints, stops, eosTokenIds, maxModelLen } = context;
    const { params, promptTokenIds } = request;
    this.request = request;
    this.index = index;
    this.tokenIds = [...promptTokenIds];
    this.numPromptTokens = promptTokenIds.length;
    this.halfLives = params.halfLifeInterval === undefined ? undefined : new HalfLifeMeter(params.halfLifeInterval);
    this.#eosTokenIds = eosTokenIds;
    this.#maxModelLen = maxModelLen;
    this.#sampler = new Sampler(params, constraints, index);
    this.#output = new TextOutput(tokenizer, promptTokenIds, stops, params);
  }

  get numOutputTokens(): number {
    return this.tokenIds.length - this.numPromptTokens;
  }

  /** Tokens that a step has yet to process before the next one can be chosen. */
  get numUncomputedTokens(): number {
    return this.tokenIds.length - this.numComputedTokens;
  }

  /** Takes a slot and blocks, with the state after some of its tokens in them. */
  start(
    { slot, blocks }: { readonly slot: number; readonly blocks: readonly number[] },
    state: { readonly length: number; readonly logits: Float32Array | undefined } | undefined,
  ): void {
    this.slot = slot;
    this.blocks = blocks;
    this.numComputedTokens = state?.length ?? 0;
    this.knownLogits = this.numUncomputedTokens === 0 ? state?.logits : undefined;
  }

  /** Its slot and blocks are others'. */
  stop(): void {
    this.slot = undefined;
    this.blocks = [];
  }

  /** Some more of its tokens are in the slot. */
  advance(numTokens: number): void {
    this.numComputedTokens += numTokens;
    this.knownLogits = undefined;
  }

  /** Whether the executor may choose its next token: nobody wants to see the logits, and they are not to be kept. */
  get canBeSampledByExecutor(): boolean {
    const { request, knownLogits, numOutputTokens, numUncomputedTokens } = this;
    const { logprobs, halfLifeInterval } = request.params;
    const isDecode = numOutputTokens > 0 && numUncomputedTokens === 1 && !knownLogits;
    return isDecode && logprobs === undefined && halfLifeInterval === undefined && !request.wantsPromptLogits;
  }

  /**
   * Whether the step after the next can be begun before the next token is known. Tokens that end the answer end it for the
   * executor, too.
   */
  get canRunAhead(): boolean {
    const { params } = this.request;
    const isPlain = params.stop.length === 0 && !this.#sampler.dependsOnAnswer;
    return isPlain && this.#sampler.numEndTokens <= MAX_END_TOKENS;
  }

  /** Whether the next token is the last, whichever it is. */
  get isAboutToBeFull(): boolean {
    return this.numOutputTokens + 1 >= this.request.params.maxTokens || this.tokenIds.length + 1 >= this.#maxModelLen;
  }

  /** How the executor is to choose the next token. It counts as a draw. */
  tokenSampling(): TokenSampling {
    return this.#sampler.tokenSampling();
  }

  /** Takes the token that the executor chose. @throws NonFiniteLogitsError */
  accept(tokenId: number, logprob: number): Sample {
    return this.#sampler.accept(tokenId, logprob);
  }

  /** Chooses the next token. @throws NonFiniteLogitsError */
  sample(logits: Float32Array): Sample {
    return this.#sampler.sample(logits);
  }

  /** An evaluation ends with its prompt; → its only output, then. */
  endEvaluation(): CompletionOutput | undefined {
    if (!this.request.isEvaluation || this.numUncomputedTokens > 0) return undefined;
    this.finishReason = 'length';
    return { index: this.index, text: '', tokens: [], finishReason: 'length', stopReason: null };
  }

  /** Adds a token, and says what is new by it: text, and whether the answer ends. */
  append(sample: Sample): CompletionOutput {
    const { params } = this.request;
    const { tokenId } = sample;
    this.tokenIds.push(tokenId);
    const isStopToken = params.stopTokenIds.has(tokenId);
    const endsText = isStopToken || (!params.ignoreEos && this.#eosTokenIds.has(tokenId));
    const isShown = !endsText || (isStopToken && params.includeStopStrInOutput);
    let { text, stop } = this.#output.push(tokenId, isShown);
    const isFull = this.numOutputTokens >= params.maxTokens || this.tokenIds.length >= this.#maxModelLen;
    const isLast = endsText || isFull;
    if (isLast && stop === undefined) {
      const rest = this.#output.flush();
      text += rest.text;
      stop = rest.stop;
    }
    if (endsText || stop !== undefined) {
      this.finishReason = 'stop';
      this.stopReason = stop ?? (isStopToken ? tokenId : null);
    } else if (isLast) {
      this.finishReason = 'length';
    }
    const { index, finishReason, stopReason } = this;
    const halfLives = this.halfLives?.report(this.numOutputTokens);
    const token = { ...sample, text, ...(halfLives && { halfLives }) };
    return { index, text, tokens: [token], finishReason, stopReason };
  }
}

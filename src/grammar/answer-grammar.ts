import { withResolvers } from '../util/with-resolvers.ts';
import { clearBit, hasBit, isEmpty, setBit, type TokenBits } from './token-bits.ts';
import type { Utf8Tokens } from './utf8-tokens.ts';

/** Tokens that have a part in a grammar besides their text. */
export interface GrammarTokens {
  /** Number of the model's tokens, and the bit of the end of an answer. */
  readonly vocabSize: number;
  /** Bits of the tokens that no text has. */
  readonly hidden: TokenBits;
  readonly utf8: Utf8Tokens;
}

/** What an answer tells the worker that follows it. */
export interface AnswerPort {
  /** Keeps a token for the worker until `update`. */
  accept(answer: AnswerGrammar, tokenId: number): void;
  /** Sends the tokens of all answers that are kept, and takes the masks that have come. */
  update(): void;
  end(answer: AnswerGrammar): void;
}

/** One answer, and the tokens that its grammar allows next. */
export class AnswerGrammar {
  /** Whether the answer's form has not begun: the model still thinks. */
  isSuspended = false;
  readonly #port: AnswerPort;
  readonly #tokens: GrammarTokens;
  readonly #accepted: number[] = [];
  #mask: TokenBits | undefined;
  #error: Error | undefined;
  #ready = withResolvers();
  #isOver = false;

  /** @param mask of the first token. */
  constructor(port: AnswerPort, tokens: GrammarTokens, mask: TokenBits) {
    this.#port = port;
    this.#tokens = tokens;
    this.receive(mask);
  }

  /** Tokens so far. */
  get tokenIds(): readonly number[] {
    return this.#accepted;
  }

  /** Whether the worker has yet to say what may follow the last token. */
  get isPending(): boolean {
    return !this.#isOver && this.#mask === undefined && this.#error === undefined;
  }

  /** Resolves when it is no longer pending. To be called when the other answers of a step have their tokens too. */
  whenReady(): Promise<void> {
    if (this.isPending) this.#port.update();
    return this.#ready.promise;
  }

  /** Whether the answer may end here. */
  get isComplete(): boolean {
    return this.#mask !== undefined && hasBit(this.#mask, this.#tokens.vocabSize);
  }

  /**
   * Bits of the tokens that may come next. Where the answer may end, these are among them: `endTokenIds`, but those that are put off
   * only if nothing else may come.
   * @throws the error that ended the worker.
   */
  allowed(endTokenIds: Iterable<number>, putOffIds: ReadonlySet<number>): TokenBits {
    if (this.#error) throw this.#error;
    const bits = new Int32Array(this.#mask ?? []);
    const isComplete = this.isComplete;
    clearBit(bits, this.#tokens.vocabSize);
    if (isComplete) {
      const isOnly = isEmpty(bits);
      for (const id of endTokenIds) if (isOnly || !putOffIds.has(id)) setBit(bits, id);
    }
    return bits;
  }

  /** A token was chosen that is no end. */
  accept(tokenId: number): void {
    if (this.#isOver) return;
    this.#accepted.push(tokenId);
    this.#mask = undefined;
    this.#ready = withResolvers();
    this.#port.accept(this, tokenId);
  }

  /** Takes the tokens that may follow the last one. */
  receive(mask: TokenBits): void {
    const { hidden, utf8 } = this.#tokens;
    for (let i = 0; i < mask.length; i++) mask[i] &= ~hidden[i];
    const forbidden = utf8.forbiddenAfter(this.#accepted.at(-1));
    if (forbidden) for (let i = 0; i < mask.length; i++) mask[i] &= ~forbidden[i];
    this.#mask = mask;
    this.#ready.resolve();
  }

  fail(error: Error): void {
    this.#error = error;
    this.#ready.resolve();
  }

  /** The answer is over. */
  dispose(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#ready.resolve();
    this.#port.end(this);
  }
}

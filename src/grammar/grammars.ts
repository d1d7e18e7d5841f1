import { unlessAborted } from '../distributed/abortable.ts';
import { reviveError } from '../distributed/serialized-error.ts';
import type { WorkerScript } from '../distributed/worker-scripts.ts';
import { DisposedError, StructuredOutputsError } from '../errors.ts';
import { asError } from '../util/as-error.ts';
import { AnswerGrammar, type AnswerPort, type GrammarTokens } from './answer-grammar.ts';
import { formKey } from './forms/grammar-source.ts';
import type { StructuredOutputs } from './forms/structured-outputs.ts';
import type { GrammarMessage, GrammarRequest } from './grammar-protocol.ts';
import { type GrammarThread, packageUrl, startGrammarThread } from './grammar-thread.ts';
import { bitsOf, isEmpty, type TokenBits } from './token-bits.ts';
import { Utf8Tokens } from './utf8-tokens.ts';
import { type GrammarTokenizer, vocabularyBytes } from './vocabulary.ts';

/** Grammars that are kept compiled. */
const MAX_GRAMMARS = 64;

/** Time for one grammar, after which its worker is ended and started again. */
const COMPILE_MILLISECONDS = 30_000;

/** Parts that grammars need of a model. */
export interface GrammarsOptions {
  readonly tokenizer: GrammarTokenizer;
  readonly vocabSize: number;
  /** Tokens that end an answer. */
  readonly endTokenIds: readonly number[];
  /** Location of the worker's script, if it is not in its usual place. */
  readonly script?: WorkerScript | undefined;
  readonly compileMilliseconds?: number | undefined;
}

/** A compiled form, for as many answers as there are. */
export interface TokenGrammar {
  /** A new answer, which the caller disposes of. */
  begin(): AnswerGrammar;
}

interface KnownGrammar {
  readonly number: number;
  readonly key: string;
  readonly form: StructuredOutputs;
  readonly compiled: Promise<TokenBits>;
}

interface Waiting {
  readonly number: number;
  readonly resolve: (mask: TokenBits) => void;
  readonly reject: (error: Error) => void;
  timer?: ReturnType<typeof setTimeout>;
}

/** An answer under way, with the form that it can be begun again with. */
interface LiveAnswer {
  readonly answer: AnswerGrammar;
  readonly number: number;
  readonly grammar: Pick<KnownGrammar, 'key' | 'form'>;
}

/**
 * A model's grammars, in a worker that is started with the first: it compiles them, and says after each token of an
 * answer which tokens may follow. The answers of a step are sent together. A worker that takes too long for a grammar is
 * ended; answers under way are begun again in the next one, with the tokens that they have.
 */
export class Grammars {
  readonly #options: GrammarsOptions;
  readonly #known = new Map<string, KnownGrammar>();
  /** Grammars that are being compiled, in their order. */
  readonly #waiting = new Map<number, Waiting>();
  readonly #answers = new Map<number, LiveAnswer>();
  readonly #numbers = new Map<AnswerGrammar, number>();
  #queued: number[] = [];
  #thread: GrammarThread | undefined;
  /** Known with the vocabulary. */
  #utf8: Utf8Tokens | undefined;
  /** Whether the thread's vocabulary is there. */
  #opening: Promise<GrammarThread> | undefined;
  #lastNumber = 0;
  #isDisposed = false;

  constructor(options: GrammarsOptions) {
    this.#options = options;
  }

  /**
   * Compiles a form, unless it is known. Rejects with StructuredOutputsError, MissingPackageError, DisposedError, or the signal's
   * reason; what was begun for an aborted call is finished, for the next one.
   */
  async compile(form: StructuredOutputs, signal?: AbortSignal): Promise<TokenGrammar> {
    signal?.throwIfAborted();
    const key = formKey(form);
    const mask = await unlessAborted(this.#compiled(key, form), signal);
    const utf8 = this.#utf8;
    if (!utf8) throw disposed();
    const hidden = form.structuralTag === undefined ? [...this.#options.tokenizer.specialTokenIds] : [];
    const { vocabSize, endTokenIds } = this.#options;
    const tokens: GrammarTokens = {
      vocabSize,
      hidden: bitsOf([...hidden, ...endTokenIds, ...utf8.hidden], mask.length),
      utf8,
    };
    const begun = new AnswerGrammar(NOWHERE, tokens, mask.slice());
    if (isEmpty(begun.allowed([0], new Set()))) {
      throw new StructuredOutputsError('No token of the model can begin an answer of this form.');
    }
    return { begin: () => this.#begin(key, form, tokens, mask.slice()) };
  }

  /** Ends the worker. Answers under way, and forms that are being compiled, end with DisposedError. */
  dispose(): void {
    this.#isDisposed = true;
    this.#fail(disposed());
  }

  #compiled(key: string, form: StructuredOutputs): Promise<TokenBits> {
    const known = this.#known.get(key);
    this.#known.delete(key);
    const grammar = known ?? this.#compile(key, form);
    // The last in order is the one that was used last.
    this.#known.set(key, grammar);
    for (const [oldest, { number }] of this.#known) {
      if (this.#known.size <= MAX_GRAMMARS) break;
      this.#known.delete(oldest);
      this.#thread?.post({ type: 'release', grammar: number });
    }
    return grammar.compiled;
  }

  #compile(key: string, form: StructuredOutputs): KnownGrammar {
    const number = ++this.#lastNumber;
    const compiled = this.#request(number, form);
    compiled.catch(() => {
      if (this.#known.get(key)?.number === number) this.#known.delete(key);
    });
    return { number, key, form, compiled };
  }

  async #request(number: number, form: StructuredOutputs): Promise<TokenBits> {
    if (form.grammar !== undefined || form.structuralTag !== undefined) await this.#check(form);
    const thread = await this.#open();
    return this.#waitFor(number, () => thread.post({ type: 'compile', id: number, form }));
  }

  #waitFor(number: number, post: () => void): Promise<TokenBits> {
    return new Promise((resolve, reject) => {
      this.#waiting.set(number, { number, resolve, reject });
      this.#thread?.hold(true);
      this.#watchFirst();
      post();
    });
  }

  /** Only the first in order is compiled now, so only its time counts. */
  #watchFirst(): void {
    const [first] = this.#waiting.values();
    if (!first || first.timer !== undefined) return;
    const { compileMilliseconds = COMPILE_MILLISECONDS } = this.#options;
    first.timer = setTimeout(() => {
      this.#waiting.delete(first.number);
      first.reject(tooLong(compileMilliseconds));
      void this.#restart();
    }, compileMilliseconds);
  }

  #settled(number: number): Waiting | undefined {
    const waiting = this.#waiting.get(number);
    clearTimeout(waiting?.timer);
    this.#waiting.delete(number);
    this.#watchFirst();
    if (this.#waiting.size === 0) this.#thread?.hold(false);
    return waiting;
  }

  /** Has another worker try what XGrammar may break at. */
  #check(form: StructuredOutputs): Promise<void> {
    const { compileMilliseconds = COMPILE_MILLISECONDS, script } = this.#options;
    return new Promise<void>((resolve, reject) => {
      const end = (settle: () => void) => {
        clearTimeout(timer);
        thread.terminate();
        settle();
      };
      const timer = setTimeout(() => end(() => reject(tooLong(compileMilliseconds))), compileMilliseconds);
      const onMessage = (message: GrammarMessage) => {
        if (message.type === 'opened') thread.post({ type: 'check', id: 0, form });
        else if (message.type === 'checked') end(resolve);
        else if ('error' in message) end(() => reject(reviveError(message.error, WORKER)));
      };
      const onEnd = (problem: string) => end(() => reject(new StructuredOutputsError(`${WORKER} ${problem}.`)));
      const thread = startGrammarThread({ onMessage, onEnd }, script);
      thread.hold(true);
      thread.post({ type: 'open', vocabulary: undefined, url: packageUrl() });
    });
  }

  #open(): Promise<GrammarThread> {
    if (this.#isDisposed) throw disposed();
    this.#opening ??= this.#start().catch((error: unknown) => {
      this.#opening = undefined;
      throw error;
    });
    return this.#opening;
  }

  async #start(): Promise<GrammarThread> {
    const { tokenizer, vocabSize, script } = this.#options;
    const vocabulary = await vocabularyBytes(tokenizer, vocabSize);
    this.#utf8 ??= await Utf8Tokens.of(vocabulary);
    if (this.#isDisposed) throw disposed();
    return new Promise((resolve, reject) => {
      const onMessage = (message: GrammarMessage) => {
        if (message.type === 'opened') {
          this.#thread = thread;
          thread.hold(false);
          resolve(thread);
        } else if (this.#thread !== thread) {
          if (message.type === 'broken') onEnd('', reviveError(message.error, WORKER));
        } else this.#receive(message);
      };
      const onEnd = (problem: string, cause?: unknown) => {
        const error =
          problem === '' ? asError(cause) : new StructuredOutputsError(`${WORKER} ${problem}.`, '', { cause });
        reject(error);
        if (this.#thread === thread) this.#fail(error);
        thread.terminate();
      };
      const thread = startGrammarThread({ onMessage, onEnd }, script);
      thread.hold(true);
      thread.post({ type: 'open', vocabulary, url: packageUrl() }, [
        vocabulary.bytes.buffer,
        vocabulary.offsets.buffer,
      ]);
    });
  }

  #receive(message: GrammarMessage): void {
    switch (message.type) {
      case 'compiled':
        this.#settled(message.id)?.resolve(message.mask);
        return;
      case 'refused':
        this.#settled(message.id)?.reject(reviveError(message.error, WORKER));
        if (message.isBroken) void this.#restart();
        return;
      case 'masks':
        this.#distribute(message.matchers, message.masks);
        return;
      case 'broken':
        this.#fail(reviveError(message.error, WORKER));
    }
  }

  #distribute(matchers: Int32Array, masks: Int32Array<ArrayBuffer>): void {
    const words = masks.length / matchers.length;
    for (const [i, number] of matchers.entries()) {
      this.#answers.get(number)?.answer.receive(masks.subarray(i * words, (i + 1) * words));
    }
  }

  #begin(key: string, form: StructuredOutputs, tokens: GrammarTokens, mask: TokenBits): AnswerGrammar {
    const port: AnswerPort = {
      accept: (answer, tokenId) => this.#accept(answer, tokenId),
      update: () => this.#update(),
      end: (answer) => this.#end(answer),
    };
    const answer = new AnswerGrammar(port, tokens, mask);
    const number = ++this.#lastNumber;
    const live = { answer, number, grammar: { key, form } };
    this.#answers.set(number, live);
    this.#numbers.set(answer, number);
    if (this.#thread) this.#follow(live, this.#thread, []);
    else answer.fail(disposed());
    return answer;
  }

  /** Has the worker follow an answer, whose grammar it may have to compile again. */
  #follow({ number, grammar }: LiveAnswer, thread: GrammarThread, tokenIds: readonly number[]): void {
    const { key, form } = grammar;
    let known = this.#known.get(key);
    if (!known) {
      const id = ++this.#lastNumber;
      known = { number: id, key, form, compiled: this.#waitFor(id, () => thread.post({ type: 'compile', id, form })) };
      known.compiled.catch(() => {});
      this.#known.set(key, known);
    }
    thread.post({ type: 'begin', grammar: known.number, matcher: number, tokenIds });
  }

  #accept(answer: AnswerGrammar, tokenId: number): void {
    const number = this.#numbers.get(answer);
    if (number !== undefined) this.#queued.push(number, tokenId);
  }

  #update(): void {
    if (!this.#thread) return;
    if (this.#queued.length === 0) {
      this.#thread.receive();
      return;
    }
    const pairs = Int32Array.from(this.#queued);
    this.#queued = [];
    this.#post({ type: 'accept', pairs });
  }

  #end(answer: AnswerGrammar): void {
    const number = this.#numbers.get(answer);
    if (number === undefined) return;
    this.#numbers.delete(answer);
    this.#answers.delete(number);
    this.#post({ type: 'end', matcher: number });
  }

  #post(request: GrammarRequest): void {
    this.#thread?.post(request);
  }

  /** Starts another worker in place of one that can't be used any more, and has it follow the answers under way. */
  async #restart(): Promise<void> {
    this.#thread?.terminate();
    this.#thread = undefined;
    this.#opening = undefined;
    this.#queued = [];
    const unfinished = [...this.#waiting.values()];
    this.#waiting.clear();
    const forms = new Map([...this.#known.values()].map(({ number, form }) => [number, form]));
    this.#known.clear();
    if (unfinished.length === 0 && this.#answers.size === 0) return;
    try {
      const thread = await this.#open();
      for (const { number, resolve, reject, timer } of unfinished) {
        clearTimeout(timer);
        const form = forms.get(number);
        if (form) this.#waitFor(number, () => thread.post({ type: 'compile', id: number, form })).then(resolve, reject);
        else reject(new StructuredOutputsError(`${WORKER} was ended.`, 'Send the request again.'));
      }
      for (const live of this.#answers.values()) this.#continue(live, thread);
    } catch (error) {
      for (const { reject } of unfinished) reject(asError(error));
      this.#fail(asError(error));
    }
  }

  #continue(live: LiveAnswer, thread: GrammarThread): void {
    const { answer, number } = live;
    const { tokenIds, isPending } = answer;
    this.#follow(live, thread, isPending ? tokenIds.slice(0, -1) : tokenIds);
    const last = tokenIds.at(-1);
    if (isPending && last !== undefined) thread.post({ type: 'accept', pairs: Int32Array.of(number, last) });
  }

  #fail(error: Error): void {
    this.#thread?.terminate();
    this.#thread = undefined;
    this.#opening = undefined;
    this.#known.clear();
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(error);
    }
    this.#waiting.clear();
    for (const { answer } of this.#answers.values()) answer.fail(error);
    this.#answers.clear();
    this.#numbers.clear();
  }
}

const WORKER = 'The worker for grammars';
const NOWHERE: AnswerPort = { accept: () => {}, update: () => {}, end: () => {} };

function disposed(): DisposedError {
  return new DisposedError('The model was disposed of.', 'Load it again.');
}

function tooLong(milliseconds: number): StructuredOutputsError {
  return new StructuredOutputsError(
    `The form took more than ${milliseconds / 1000} s to compile.`,
    'Make it smaller: large maxLength, maxItems and repetitions take long.',
  );
}

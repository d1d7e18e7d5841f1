import { serializeError } from '../distributed/serialized-error.ts';
import { StructuredOutputsError } from '../errors.ts';
import { type GrammarSource, grammarSource } from './forms/grammar-source.ts';
import type { StructuredOutputs } from './forms/structured-outputs.ts';
import type { GrammarMessage, GrammarRequest, VocabularyBytes } from './grammar-protocol.ts';
import {
  type CompiledXGrammar,
  captureConsole,
  loadXGrammar,
  refusedGrammar,
  type XGrammar,
  type XGrammarCompiler,
  type XGrammarMatcher,
} from './xgrammar.ts';

type Post = (message: GrammarMessage, transfer?: ArrayBuffer[]) => void;

/** Compiled grammars and answers that follow them, inside a worker. */
export class GrammarWork {
  readonly #post: Post;
  readonly #words = captureConsole();
  #opened:
    | { readonly library: XGrammar; readonly compiler: XGrammarCompiler | undefined; readonly words: number }
    | undefined;
  readonly #grammars = new Map<number, CompiledXGrammar>();
  readonly #matchers = new Map<number, XGrammarMatcher>();
  /** Requests are done one after another, in the order in which they come. */
  #last: Promise<void> = Promise.resolve();

  constructor(post: Post) {
    this.#post = post;
  }

  receive(request: GrammarRequest): void {
    this.#last = this.#last
      .then(() => this.#do(request))
      .catch((error) => this.#post({ type: 'broken', error: serializeError(error) }));
  }

  async #do(request: GrammarRequest): Promise<void> {
    switch (request.type) {
      case 'open':
        return this.#open(request.vocabulary, request.url);
      case 'check':
        return this.#answer(request.id, () => this.#check(request.id, request.form));
      case 'compile':
        return this.#answer(request.id, () => this.#compile(request.id, request.form));
      case 'release':
        this.#grammars.get(request.grammar)?.dispose();
        this.#grammars.delete(request.grammar);
        return;
      case 'begin':
        return this.#begin(request.grammar, request.matcher, request.tokenIds);
      case 'accept':
        return this.#accept(request.pairs);
      case 'end':
        this.#matchers.get(request.matcher)?.dispose();
        this.#matchers.delete(request.matcher);
    }
  }

  async #open(vocabulary: VocabularyBytes | undefined, url: string | undefined): Promise<void> {
    const library = await loadXGrammar(url);
    const compiler = vocabulary && (await compilerFor(library, vocabulary));
    const words = Math.ceil(((vocabulary?.offsets.length ?? 1) - 1) / 32);
    this.#opened = { library, compiler, words };
    this.#post({ type: 'opened' });
  }

  async #check(id: number, form: StructuredOutputs): Promise<void> {
    const source = grammarSource(form);
    if (source.isForeign && this.#opened) {
      const { Grammar } = this.#opened.library;
      const { text } = source;
      const grammar = await this.#guarded(() =>
        source.type === 'ebnf' ? Grammar.fromEBNF(text) : Grammar.fromStructuralTag(text),
      );
      grammar.dispose();
    }
    this.#post({ type: 'checked', id });
  }

  async #compile(id: number, form: StructuredOutputs): Promise<void> {
    const { type, text }: GrammarSource = grammarSource(form);
    const { library, compiler, words } = this.#opened ?? {};
    if (!library || !compiler || !words) throw new StructuredOutputsError('The worker has no vocabulary.');
    const compiled = await this.#guarded(() =>
      type === 'ebnf' ? compiler.compileGrammar(text) : compiler.compileStructuralTag(text),
    );
    const matcher = await this.#guarded(() => library.GrammarMatcher.createGrammarMatcher(compiled));
    const mask = (await matcher.getNextTokenBitmask()).slice(0, words);
    matcher.dispose();
    this.#grammars.set(id, compiled);
    this.#post({ type: 'compiled', id, mask }, [mask.buffer]);
  }

  async #begin(grammar: number, number: number, tokenIds: readonly number[]): Promise<void> {
    const compiled = this.#grammars.get(grammar);
    // It was refused, which its answers hear of otherwise.
    if (!compiled || !this.#opened) return;
    const matcher = await this.#opened.library.GrammarMatcher.createGrammarMatcher(compiled);
    for (const tokenId of tokenIds) matcher.acceptToken(tokenId);
    this.#matchers.set(number, matcher);
  }

  /** An answer whose grammar does not take a token gets a mask without any. */
  async #accept(pairs: Int32Array): Promise<void> {
    const words = this.#opened?.words ?? 0;
    const matchers = new Int32Array(pairs.length / 2);
    const masks = new Int32Array(matchers.length * words);
    for (const i of matchers.keys()) {
      const [number, tokenId] = pairs.subarray(2 * i);
      matchers[i] = number;
      const matcher = this.#matchers.get(number);
      if (!matcher?.acceptToken(tokenId)) continue;
      masks.set((await matcher.getNextTokenBitmask()).subarray(0, words), i * words);
    }
    this.#post({ type: 'masks', matchers, masks }, [matchers.buffer, masks.buffer]);
  }

  /** Tells the caller what went wrong with a form. */
  async #answer(id: number, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      const known = error instanceof RangeError ? tooDeep(error) : error;
      const isBroken = !(known instanceof StructuredOutputsError) || known.cause !== undefined;
      this.#post({
        type: 'refused',
        id,
        error: serializeError(known),
        isBroken: isBroken && !(error instanceof RangeError),
      });
    }
  }

  /** What XGrammar throws is no error, or one without a reason. */
  async #guarded<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw refusedGrammar(this.#words(), error);
    }
  }
}

function tooDeep(cause: unknown): StructuredOutputsError {
  return new StructuredOutputsError('The form is nested too deep.', 'Make it flatter.', { cause });
}

async function compilerFor(library: XGrammar, { bytes, offsets }: VocabularyBytes): Promise<XGrammarCompiler> {
  const tokens: Uint8Array[] = [];
  for (let id = 0; id + 1 < offsets.length; id++) tokens.push(bytes.subarray(offsets[id], offsets[id + 1]));
  const endTokenId = tokens.length - 1;
  const info = await library.TokenizerInfo.createTokenizerInfo(tokens, 'raw', false, tokens.length, [endTokenId]);
  return library.GrammarCompiler.createGrammarCompiler(info, false);
}

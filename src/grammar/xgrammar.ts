import { MissingPackageError, StructuredOutputsError } from '../errors.ts';
import { asError } from '../util/as-error.ts';

/** Parts of `@mlc-ai/web-xgrammar` that are used here. */
export interface XGrammar {
  readonly Grammar: {
    fromEBNF(text: string): Promise<Disposable>;
    fromStructuralTag(text: string): Promise<Disposable>;
  };
  readonly TokenizerInfo: {
    createTokenizerInfo(
      vocabulary: readonly Uint8Array[],
      type: 'raw',
      prependSpace: boolean,
      vocabSize: number,
      stopTokenIds: readonly number[],
    ): Promise<Disposable>;
  };
  readonly GrammarCompiler: {
    createGrammarCompiler(tokenizerInfo: Disposable, isCached: boolean): Promise<XGrammarCompiler>;
  };
  readonly GrammarMatcher: { createGrammarMatcher(grammar: Disposable): Promise<XGrammarMatcher> };
}

/** An object in WebAssembly memory. */
interface Disposable {
  dispose(): void;
}

export type CompiledXGrammar = Disposable;

export interface XGrammarCompiler extends Disposable {
  compileGrammar(text: string): Promise<CompiledXGrammar>;
  compileStructuralTag(text: string): Promise<CompiledXGrammar>;
}

export interface XGrammarMatcher extends Disposable {
  acceptToken(tokenId: number): boolean;
  getNextTokenBitmask(): Promise<Int32Array>;
}

const PACKAGE = '@mlc-ai/web-xgrammar';

/**
 * Loads the package into a worker of its own, whose globals it changes. It is a script that looks for `require` and
 * `__filename` in Node and leaves its exports in a global, under `"type": "module"`.
 * @param url where it is, if an import map of the page says so: these do not hold in workers.
 * @throws MissingPackageError
 */
export async function loadXGrammar(url: string | undefined): Promise<XGrammar> {
  const scope: Record<string, unknown> = globalThis as typeof globalThis & Record<string, unknown>;
  const module = globalThis.process?.getBuiltinModule?.('node:module');
  if (module) {
    scope.require = module.createRequire(import.meta.url);
    scope.__filename = process.getBuiltinModule('node:url').fileURLToPath(import.meta.url);
  }
  let exports: object;
  try {
    exports = await import('@mlc-ai/web-xgrammar');
  } catch (cause) {
    if (url === undefined) throw missing(cause);
    try {
      exports = await import(/* @vite-ignore */ /* webpackIgnore: true */ url);
    } catch {
      throw missing(cause);
    }
  }
  const found = [exports, 'default' in exports ? exports.default : undefined, scope.xgrammar].find(isXGrammar);
  if (!found) throw missing(new Error(`'${PACKAGE}' has not the exports that are known of it`));
  return found;
}

function isXGrammar(value: unknown): value is XGrammar {
  return typeof value === 'object' && value !== null && 'GrammarMatcher' in value;
}

function missing(cause: unknown): MissingPackageError {
  const problem = `Structured outputs need the package '${PACKAGE}', which can't be loaded: ${asError(cause).message}.`;
  return new MissingPackageError(problem, `npm install ${PACKAGE}@0.1.27`, { cause });
}

/**
 * Keeps what the package writes to the console in this worker: it says there, and not in its errors, what is wrong.
 * To be called before it is loaded.
 */
export function captureConsole(): () => string {
  let last = '';
  console.error = (...parts: unknown[]) => {
    const text = parts.map(String).join(' ');
    if (text.includes('[FATAL]'))
      last = text.replace(/^.*\[FATAL\] \S+: /s, '').replace(/^Check failed: .*? is false: /s, '');
  };
  console.log = () => {};
  console.warn = () => {};
  return () => last.trim();
}

/** The error for a grammar that XGrammar refuses; it aborts then, and what it holds can't be used any more. */
export function refusedGrammar(words: string, cause: unknown): StructuredOutputsError {
  const reason = words === '' ? asError(cause).message : words;
  const text = reason.length > 500 ? `${reason.slice(0, 500)}…` : reason;
  return new StructuredOutputsError(`The grammar can't be compiled: ${text}`, '', { cause });
}

import { ArgumentError, DisposedError, SessionFileError, ShapeError } from '../../errors.ts';
import { detached } from '../../util/detached.ts';
import { shown } from '../../util/shown.ts';
import type { ModelIdentity } from '../load/model-identity.ts';
import type { EngineRequest } from '../request/engine-request.ts';
import { type GenerationChunk, generationChunks } from '../request/generation-chunk.ts';
import { detachedPrompt, type Prompt } from '../request/prompt.ts';
import type { RequestStream } from '../request/request-stream.ts';
import { checkOptionNames, GENERATE_OPTIONS } from '../sample/option-names.ts';
import type { GenerateOptions, SamplingParams } from '../sample/sampling-params.ts';
import type { SavedStates } from '../schedule/saved-states.ts';
import type { CacheSalt, Snapshot } from '../state/snapshot.ts';
import { type SessionContents, writeSession } from './session-file.ts';

/** Parts that a session needs of the engine that runs its requests. */
export interface SessionEngine {
  readonly savedStates: SavedStates;
  /** Why it takes no requests any more. */
  readonly closed: Error | undefined;
  addRequest(request: EngineRequest, signal?: AbortSignal): RequestStream;
  abortRequest(id: string, reason: Error): void;
}

/** Parts that a session needs of its model. */
export interface SessionHost {
  readonly engine: SessionEngine;
  readonly identity: () => Promise<ModelIdentity>;
  /** Token ids of an added prompt, checked. Only a first text gets special tokens before it. */
  encode(
    prompt: Prompt,
    options: { readonly addSpecialTokens: boolean; readonly signal: AbortSignal | undefined },
  ): Promise<readonly number[]>;
  /** Token ids of the params' bad words. */
  encodeBadWords(
    params: SamplingParams,
    signal: AbortSignal | undefined,
  ): Promise<NonNullable<EngineRequest['badWordsTokenIds']>>;
  /** The compiled form that params ask for. */
  compileGrammar(params: SamplingParams, signal: AbortSignal | undefined): Promise<EngineRequest['grammar']>;
  resolve(options: GenerateOptions): SamplingParams;
}

/** Options of a new session. */
export interface SessionOptions {
  /** Salt of all of the session's requests: see `GenerateOptions`. Default: none. */
  readonly cacheSalt?: string | undefined;
}

/** Options of a session's requests. The salt is the session's own, and a session keeps all of its tokens. */
export type SessionGenerateOptions = Omit<GenerateOptions, 'cacheSalt' | 'truncatePromptTokens'>;

/** Names of its options. A salt is refused in words of its own. */
const { truncatePromptTokens: _, ...SESSION_OPTIONS } = GENERATE_OPTIONS;

/** A session's tokens, and the state after some of them, which it owns. */
interface Position {
  readonly tokenIds: readonly number[];
  readonly snapshot: Snapshot | undefined;
}

/**
 * A growing text and the model's state after it: continuing costs only the new tokens. The state is held until
 * the session is disposed of, or until other sequences need the blocks of its keys and values; whatever is lost of it is
 * computed again from the tokens.
 *
 * A call that is refused, fails or is aborted leaves the session as it was. One call at a time: the next is refused with
 * ArgumentError until the one before has ended. Disposing of the session ends it, with DisposedError.
 *
 * @example
 * ```ts
 * const session = llm.createSession();
 * await session.append('A long document. ');
 * const fork = session.fork();
 * for await (const { text } of fork.generate('In short:', { maxTokens: 50 })) console.log(text);
 * session.rewind(2); // tokens
 * const file = await session.save(); // llm.loadSession(file)
 * ```
 */
export class Session {
  readonly #host: SessionHost;
  readonly #salt: CacheSalt;
  #position: Position;
  #isBusy = false;
  #isDisposed = false;
  /** The engine's request for the call that runs. */
  #requestId: string | undefined;

  /**
   * @param position whose snapshot becomes the session's.
   * @param salt of the snapshot, and of all requests.
   */
  constructor(host: SessionHost, salt: CacheSalt, position: Position = { tokenIds: [], snapshot: undefined }) {
    this.#host = host;
    this.#salt = salt;
    this.#position = position;
  }

  /** All tokens so far: those added and those generated. While a call runs, those before it. */
  get tokenIds(): readonly number[] {
    return [...this.#position.tokenIds];
  }

  /** Adds text or tokens and processes them, without generating anything. */
  async append(prompt: Prompt, options: Pick<GenerateOptions, 'signal' | 'priority'> = {}): Promise<void> {
    const given = detachedPrompt(prompt);
    await this.#exclusively(async () => this.#process(await this.#with(given, options.signal), options));
  }

  /**
   * Generates from where the session is, after adding a prompt if one is given. What is generated becomes part of the
   * session when the generation ends. Leaving the loop early ends it, too: the session keeps the prompt and what was read,
   * and continues from the last token that was read. A generation that throws is undone, the prompt included.
   */
  generate(prompt?: Prompt, options: SessionGenerateOptions = {}): AsyncGenerator<GenerationChunk, void> {
    return this.#generate(detachedPrompt(prompt), detached(options));
  }

  /** A new session that begins where this one is. It costs no processing and no memory until it continues. */
  fork(): Session {
    this.#assertUsable();
    const { tokenIds } = this.#position;
    const snapshot = this.#liveSnapshot();
    if (snapshot) this.#host.engine.savedStates.retain(snapshot);
    return new Session(this.#host, this.#salt, { tokenIds, snapshot });
  }

  /** Forgets the last `count` tokens. Later calls continue from the nearest state that the prefix cache still has. */
  rewind(count: number): void {
    this.#assertUsable();
    const { tokenIds, snapshot } = this.#position;
    if (!Number.isInteger(count) || count < 0 || count > tokenIds.length) {
      const problem = `Can't rewind ${shown(count)} tokens of a session of ${tokenIds.length}.`;
      throw new ArgumentError(problem, `Use a whole number from 0 to ${tokenIds.length}.`);
    }
    const length = tokenIds.length - count;
    const isReached = snapshot !== undefined && snapshot.length <= length;
    this.#position = { tokenIds: tokenIds.slice(0, length), snapshot: isReached ? snapshot : undefined };
    if (!isReached) this.#release(snapshot);
  }

  /** The session as a file, for `loadSession` in this or another process, with the same model. */
  async save(options: Pick<GenerateOptions, 'signal'> = {}): Promise<Uint8Array<ArrayBuffer>> {
    return this.#exclusively(async () => {
      const model = await this.#host.identity();
      const { tokenIds } = this.#position;
      if (tokenIds.length === 0) return writeSession({ model, tokenIds });
      for (;;) {
        if (!this.#liveSnapshot()) await this.#process(tokenIds, options);
        if (this.#isDisposed) throw disposed();
        const snapshot = this.#liveSnapshot();
        // Others need all memory for states, even this moment.
        if (!snapshot) return writeSession({ model, tokenIds });
        const { length, logits } = snapshot;
        try {
          const values = await this.#host.engine.savedStates.read(snapshot);
          return writeSession({ model, tokenIds, state: { length, values, logits } });
        } catch (error) {
          // A state that went with its rank is computed again, where the model is loaded again.
          if (this.#liveSnapshot() || this.#host.engine.closed) throw error;
        }
      }
    });
  }

  /** Lets go of the state. A call that runs ends with DisposedError. */
  dispose(): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    if (this.#requestId !== undefined) this.#host.engine.abortRequest(this.#requestId, disposed());
    const { tokenIds, snapshot } = this.#position;
    this.#position = { tokenIds, snapshot: undefined };
    this.#release(snapshot);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  async *#generate(prompt: Prompt | undefined, options: SessionGenerateOptions): AsyncGenerator<GenerationChunk, void> {
    const release = this.#acquire();
    try {
      if ('cacheSalt' in options && options.cacheSalt !== undefined) {
        throw new ArgumentError('A session has one cacheSalt for all its requests.', 'Give it to createSession().');
      }
      checkOptionNames(options, SESSION_OPTIONS);
      const params = this.#host.resolve(options);
      if (params.n !== 1)
        throw new ArgumentError(`n is ${params.n}.`, 'A session has one answer. Fork it to get others.');
      const promptTokenIds = prompt === undefined ? this.#position.tokenIds : await this.#with(prompt, options.signal);
      const badWordsTokenIds = await this.#host.encodeBadWords(params, options.signal);
      const grammar = await this.#host.compileGrammar(params, options.signal);
      if (this.#isDisposed) throw disposed();
      const generated: number[] = [];
      const request = { promptTokenIds, params, badWordsTokenIds, grammar, priority: options.priority };
      const turn = this.#request(request, options.signal);
      let hasFailed = false;
      try {
        for await (const output of turn.outputs) {
          for (const chunk of generationChunks(output)) {
            generated.push(chunk.tokenId);
            yield chunk;
          }
        }
      } catch (error) {
        hasFailed = true;
        throw error;
      } finally {
        // A loop that was left arrives here without an error.
        if (hasFailed) turn.undo();
        else turn.commit([...promptTokenIds, ...generated]);
      }
    } finally {
      release();
    }
  }

  async #with(prompt: Prompt, signal: AbortSignal | undefined): Promise<readonly number[]> {
    const { tokenIds } = this.#position;
    const added = await this.#host.encode(prompt, { addSpecialTokens: tokenIds.length === 0, signal });
    if (this.#isDisposed) throw disposed();
    return [...tokenIds, ...added];
  }

  /** Lets the engine compute the state after these tokens, and continues from it. */
  async #process(
    promptTokenIds: readonly number[],
    { priority, signal }: Pick<GenerateOptions, 'priority' | 'signal'>,
  ): Promise<void> {
    const params = { ...this.#host.resolve({}), maxTokens: 0 };
    const turn = this.#request({ promptTokenIds, params, priority }, signal);
    try {
      for await (const _ of turn.outputs);
    } catch (error) {
      turn.undo();
      throw error;
    }
    turn.commit(promptTokenIds);
  }

  /** A request whose final state the session takes with `commit` and drops with `undo`. */
  #request(request: EngineRequest, signal: AbortSignal | undefined) {
    let final: Snapshot | undefined;
    const onFinalState = (state: Snapshot) => {
      final = state;
    };
    const source = { ...request, cacheSalt: this.#salt, onFinalState };
    const outputs = this.#host.engine.addRequest(source, signal);
    this.#requestId = outputs.requestId;
    return {
      outputs,
      undo: () => this.#release(final),
      commit: (tokenIds: readonly number[]) => {
        const before = this.#position.snapshot;
        // Past the last token that was read, or of a session that was disposed of meanwhile, it is of no use.
        const isOfUse = final !== undefined && !this.#isDisposed && final.length <= tokenIds.length;
        this.#position = { tokenIds, snapshot: isOfUse ? final : before };
        this.#release(isOfUse ? before : final);
      },
    };
  }

  #release(snapshot: Snapshot | undefined): void {
    if (snapshot) this.#host.engine.savedStates.release(snapshot);
  }

  #liveSnapshot(): Snapshot | undefined {
    const { snapshot } = this.#position;
    return snapshot && this.#host.engine.savedStates.has(snapshot) ? snapshot : undefined;
  }

  async #exclusively<T>(run: () => Promise<T>): Promise<T> {
    const release = this.#acquire();
    try {
      return await run();
    } finally {
      release();
    }
  }

  #acquire(): () => void {
    this.#assertUsable();
    this.#isBusy = true;
    return () => {
      this.#isBusy = false;
      this.#requestId = undefined;
    };
  }

  #assertUsable(): void {
    if (this.#isDisposed) throw disposed();
    if (!this.#isBusy) return;
    throw new ArgumentError(
      'The session is still busy with an earlier call.',
      'Await that call, or leave its loop. For concurrent calls, fork the session first.',
    );
  }
}

function disposed(): DisposedError {
  return new DisposedError('The session was disposed of.', 'Create a new session.');
}

/**
 * A session out of a file's contents, once it is sure that they are this model's. Its state came from elsewhere, from other
 * ranks or another engine perhaps, whose bits differ. So its requests have a cache of their own: nothing that follows
 * from it reaches others.
 *
 * @throws SessionFileError where the state has another length than the model's.
 */
export async function restoreSession(host: SessionHost, { tokenIds, state }: SessionContents): Promise<Session> {
  const salt = Symbol('session');
  if (!state) return new Session(host, salt, { tokenIds, snapshot: undefined });
  try {
    const { length, values, logits } = state;
    const snapshot = await host.engine.savedStates.write(tokenIds.slice(0, length), values, logits, salt);
    return new Session(host, salt, { tokenIds, snapshot });
  } catch (cause) {
    if (!(cause instanceof ShapeError)) throw cause;
    throw new SessionFileError(`The session file is damaged: ${cause.message}`, 'Save the session again.', { cause });
  }
}

import { ArgumentError, DisposedError } from '../errors.ts';
import type { AsyncLLMEngine } from './async-llm-engine.ts';
import type { EngineRequest } from './engine-request.ts';
import { type GenerationChunk, generationChunks } from './generation-chunk.ts';
import type { ModelIdentity } from './model-identity.ts';
import type { Prompt } from './prompt.ts';
import type { GenerateOptions, SamplingParams } from './sampling-params.ts';
import { type SessionContents, writeSession } from './session-file.ts';
import type { Snapshot } from './snapshot.ts';

/** What a session takes from its model. */
export interface SessionHost {
  readonly engine: AsyncLLMEngine;
  readonly identity: () => Promise<ModelIdentity>;
  /** Token ids of what is added, checked; special tokens go in front of a first text only. */
  tokenize(prompt: Prompt, options: { readonly addSpecialTokens: boolean }): readonly number[];
  resolve(options: GenerateOptions): SamplingParams;
}

/**
 * A text that grows, and the model's state after it: going on from there costs only what is new. The state is held until
 * the session is disposed of, or until other sequences need the blocks of its keys and values; whatever is lost of it is
 * computed again from the tokens.
 */
export class Session {
  readonly #host: SessionHost;
  #tokenIds: readonly number[];
  #snapshot: Snapshot | undefined;
  #isBusy = false;
  #isDisposed = false;

  /** @param snapshot after some of the tokens; the session becomes its owner. */
  constructor(host: SessionHost, tokenIds: readonly number[] = [], snapshot?: Snapshot) {
    this.#host = host;
    this.#tokenIds = tokenIds;
    this.#snapshot = snapshot;
  }

  /** All tokens so far: those added and those generated. */
  get tokenIds(): readonly number[] {
    return this.#tokenIds;
  }

  /** Adds text or tokens and processes them, without generating anything. */
  async append(prompt: Prompt, options: Pick<GenerateOptions, 'signal' | 'priority'> = {}): Promise<void> {
    await this.#exclusively(async () => this.#process(this.#with(prompt), options));
  }

  /**
   * Generates from where the session is, after adding a prompt if one is given. What is generated becomes part of the
   * session, as far as it was read: after leaving the loop early it goes on from the last token that was seen.
   */
  async *generate(prompt?: Prompt, options: GenerateOptions = {}): AsyncGenerator<GenerationChunk, void> {
    const release = this.#acquire();
    try {
      const params = this.#host.resolve(options);
      if (params.n !== 1) throw new ArgumentError(`n is ${params.n}.`, 'A session has one answer: fork it for others.');
      const promptTokenIds = prompt === undefined ? this.#tokenIds : this.#with(prompt);
      const request = { promptTokenIds, params, priority: options.priority };
      const generated: number[] = [];
      let final: Snapshot | undefined;
      try {
        const onFinalState = (state: Snapshot) => {
          final = state;
        };
        const stream = this.#host.engine.addRequest({ ...request, onFinalState }, options.signal);
        for await (const { outputs } of stream) {
          for (const chunk of generationChunks(outputs)) {
            generated.push(chunk.tokenId);
            yield chunk;
          }
        }
      } finally {
        this.#tokenIds = [...promptTokenIds, ...generated];
        if (final) this.#adopt(final);
      }
    } finally {
      release();
    }
  }

  /** A session of its own that begins where this one is. Costs no processing and no memory until it goes on. */
  fork(): Session {
    this.#assertUsable();
    const snapshot = this.#liveSnapshot();
    if (snapshot) this.#host.engine.savedStates.retain(snapshot);
    return new Session(this.#host, this.#tokenIds, snapshot);
  }

  /** Forgets the last `count` tokens. What follows goes on from the nearest state that the prefix cache still has. */
  rewind(count: number): void {
    this.#assertUsable();
    if (!Number.isInteger(count) || count < 0 || count > this.#tokenIds.length) {
      throw new ArgumentError(`Can't rewind ${count} tokens of a session of ${this.#tokenIds.length}.`);
    }
    this.#tokenIds = this.#tokenIds.slice(0, this.#tokenIds.length - count);
    if (this.#snapshot && this.#snapshot.length > this.#tokenIds.length) this.#letGo();
  }

  /** The session as a file, for `loadSession` in this or another process, with the same model. */
  async save(options: Pick<GenerateOptions, 'signal'> = {}): Promise<Uint8Array<ArrayBuffer>> {
    return this.#exclusively(async () => {
      if (!this.#liveSnapshot() && this.#tokenIds.length > 0) await this.#process(this.#tokenIds, options);
      const model = await this.#host.identity();
      const snapshot = this.#liveSnapshot();
      if (!snapshot) return writeSession({ model, tokenIds: this.#tokenIds });
      const { length, logits } = snapshot;
      const values = await this.#host.engine.savedStates.read(snapshot);
      return writeSession({ model, tokenIds: this.#tokenIds, state: { length, values, logits } });
    });
  }

  /** Lets go of the state. */
  dispose(): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    this.#letGo();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #with(prompt: Prompt): readonly number[] {
    const added = this.#host.tokenize(prompt, { addSpecialTokens: this.#tokenIds.length === 0 });
    return [...this.#tokenIds, ...added];
  }

  /** Has the engine compute the state after these tokens. */
  async #process(promptTokenIds: readonly number[], options: GenerateOptions): Promise<void> {
    const request: EngineRequest = {
      promptTokenIds,
      params: { ...this.#host.resolve({}), maxTokens: 0 },
      priority: options.priority,
      onFinalState: (state) => {
        this.#tokenIds = promptTokenIds;
        this.#adopt(state);
      },
    };
    for await (const _ of this.#host.engine.addRequest(request, options.signal));
  }

  /** Goes over to another state. */
  #adopt(snapshot: Snapshot): void {
    this.#letGo();
    this.#snapshot = snapshot;
    // Past the last token that was read, or of a session that was disposed of meanwhile, it is of no use.
    if (this.#isDisposed || snapshot.length > this.#tokenIds.length) this.#letGo();
  }

  #letGo(): void {
    if (this.#snapshot) this.#host.engine.savedStates.release(this.#snapshot);
    this.#snapshot = undefined;
  }

  #liveSnapshot(): Snapshot | undefined {
    return this.#snapshot && this.#host.engine.savedStates.has(this.#snapshot) ? this.#snapshot : undefined;
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
    };
  }

  #assertUsable(): void {
    if (this.#isDisposed) throw new DisposedError('The session was disposed of.', 'Create another.');
    if (!this.#isBusy) return;
    throw new ArgumentError('The session is still busy with a call before this one.', 'Await it, or fork the session.');
  }
}

/** A session out of a file's contents, once it is sure that they are this model's. */
export async function restoreSession(host: SessionHost, { tokenIds, state }: SessionContents): Promise<Session> {
  if (!state) return new Session(host, tokenIds);
  const snapshot = await host.engine.savedStates.write(tokenIds.slice(0, state.length), state.values, state.logits);
  return new Session(host, tokenIds, snapshot);
}

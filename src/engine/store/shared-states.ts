import { unlessAborted } from '../../distributed/abortable.ts';
import { yieldToEventLoop } from '../../distributed/event-loop.ts';
import { StateStoreError } from '../../errors.ts';
import { asError } from '../../util/as-error.ts';
import type { Request, Sequence } from '../request/request.ts';
import type { SavedStates } from '../schedule/saved-states.ts';
import type { StateManager } from '../schedule/state-manager.ts';
import type { CacheSalt, Snapshot } from '../state/snapshot.ts';
import type { StateStore } from './homes/state-store.ts';
import { Outage } from './outage.ts';
import {
  ExportError,
  type FoundState,
  isDamage,
  MissingValue,
  type SaltedTokens,
  StateTransfers,
} from './state-transfers.ts';
import type { StateStoreEvent, StateStoreStats } from './store-events.ts';
import { type StateFetch, TransferRates } from './transfer-rates.ts';

/** A store of states, and what an engine needs besides. */
export interface SharedStatesSource {
  readonly store: StateStore;
  /** Default: measured. */
  readonly fetch?: StateFetch | undefined;
  /** All that states depend on besides tokens: the model, its dtype, and what decides the bits that it computes. */
  readonly model: () => Promise<string>;
}

export interface SharedStatesOptions extends SharedStatesSource {
  readonly states: StateManager;
  readonly savedStates: SavedStates;
  readonly vocabSize: number;
  readonly onEvent: (event: StateStoreEvent) => void;
  /** Called when a request that waited for its state can run. */
  readonly onReady: () => void;
}

/** A request whose state is on its way, or was brought and waits for the request to begin. */
interface Arrival {
  readonly abort: AbortController;
  snapshot: Snapshot | undefined;
}

/** A state that waits to be put. */
interface Departure {
  readonly text: SaltedTokens;
  readonly snapshot: Snapshot;
  readonly bytes: number;
}

const MIB = 2 ** 20;
/** Bytes of states that are on their way, in each direction: more are not fetched, and not put. */
const MOST_BYTES = 256 * MIB;
/** Time for putting a state. */
const PUT_MILLISECONDS = 30_000;
/** Time for putting what still waits when the engine ends, if its caller gives none. */
const FLUSH_MILLISECONDS = 10_000;
/** Time for which a state that was put or fetched is not put again, and how many such states are remembered. */
const FRESH_MILLISECONDS = 300_000;
const MOST_FRESH = 10_000;

/**
 * A level behind the prefix cache, which several engines share. A request that waits gets the state of as many of its
 * tokens as the store knows, if that comes sooner than it is computed; until then it is not runnable, and others are
 * not held up. The states at the ends of prompts and answers are put behind the answers.
 *
 * Nothing of it fails a request: what does not come in time, or is not what was put, is computed.
 */
export class SharedStates {
  readonly #options: SharedStatesOptions;
  readonly #transfers: StateTransfers;
  readonly #rates: TransferRates;
  readonly #reads = new Outage();
  readonly #writes = new Outage();
  readonly #arrivals = new Map<Request, Arrival>();
  /** Fetches by their keys: requests that begin alike share one. */
  readonly #fetches = new Map<string, Promise<Snapshot | undefined>>();
  #bytesComing = 0;
  readonly #departures: Departure[] = [];
  #bytesLeaving = 0;
  #numLeaving = 0;
  #departing: Promise<void> | undefined;
  /** When states were put or fetched, by their keys, the oldest first. */
  readonly #fresh = new Map<string, number>();
  readonly #disposal = new AbortController();
  readonly #counts = {
    queries: 0,
    hits: 0,
    misses: 0,
    hitTokens: 0,
    bytesRead: 0,
    bytesWritten: 0,
    puts: 0,
    droppedPuts: 0,
    damaged: 0,
    failures: 0,
  };

  constructor(options: SharedStatesOptions) {
    this.#options = options;
    this.#transfers = new StateTransfers(options);
    this.#rates = new TransferRates(options.fetch ?? 'measured');
  }

  stats(): StateStoreStats {
    return { ...this.#counts, pendingPuts: this.#numLeaving, pendingBytes: this.#bytesLeaving };
  }

  /** A step has processed prompt tokens. Requests that have begun hold their states themselves. */
  stepped(prefillTokens: number, seconds: number): void {
    this.#rates.prefilled(prefillTokens, seconds);
    for (const [request, { snapshot }] of this.#arrivals) {
      if (snapshot && request.startedAt !== undefined) this.forget(request);
    }
  }

  /** Looks for the state of a request that was added, if it may pay to wait for it. */
  bringIn(request: Request): void {
    const { promptTokenIds: tokenIds, cacheSalt: salt, wantsPromptLogits } = request;
    if (wantsPromptLogits || !isShared(salt) || !this.#reads.isOver || this.#disposal.signal.aborted) return;
    const known = this.#options.states.find(tokenIds, salt)?.length ?? 0;
    const missing = tokenIds.length - known;
    // The best that the store may have. What is worth less is not even looked for.
    if (!this.#rates.pays(missing, this.#transfers.bytesOf(tokenIds.length, known))) return;
    const arrival: Arrival = { abort: new AbortController(), snapshot: undefined };
    this.#arrivals.set(request, arrival);
    request.isAwaitingState = true;
    const signal = AbortSignal.any([arrival.abort.signal, AbortSignal.timeout(this.#rates.wait(missing))]);
    this.#bringIn(request, arrival, signal)
      .catch((error: unknown) => this.#readFailed(error, signal))
      .finally(() => {
        request.isAwaitingState = false;
        if (arrival.snapshot === undefined) this.#arrivals.delete(request);
        this.#options.onReady();
      });
  }

  /** A request has begun, or has ended: the state that was brought for it belongs to the prefix cache from now on. */
  forget(request: Request): void {
    const arrival = this.#arrivals.get(request);
    if (!arrival) return;
    this.#arrivals.delete(request);
    arrival.abort.abort(new StateStoreError('The request does not wait any more.'));
    if (arrival.snapshot) this.#options.savedStates.release(arrival.snapshot);
  }

  /** Puts the states at the ends of a sequence's prompt and of its answer, later. @param logits after its last token */
  putOut(sequence: Sequence, logits: Float32Array | undefined): void {
    try {
      this.#putOut(sequence, logits);
    } catch {
      // Memory for a copy is missing, which is no reason for the answer to fail.
      this.#counts.droppedPuts++;
    }
  }

  #putOut(sequence: Sequence, logits: Float32Array | undefined): void {
    const { request, index, tokenIds } = sequence;
    const { cacheSalt: salt, promptTokenIds } = request;
    if (!request.isCached || !isShared(salt) || this.#disposal.signal.aborted) return;
    const { states } = this.#options;
    const atPrompt = index === 0 ? states.find(promptTokenIds, salt) : undefined;
    const isAtEnd = atPrompt?.length === promptTokenIds.length;
    if (isAtEnd && this.#hasRoom(atPrompt.length)) {
      states.pin(atPrompt);
      this.#depart(promptTokenIds, salt, atPrompt);
    }
    if (!this.#hasRoom(sequence.numComputedTokens)) return;
    const final = states.savePinned(sequence, logits);
    if (final && !(isAtEnd && final.id === atPrompt.id)) this.#depart([...tokenIds], salt, final);
    else if (final) states.unpin(final);
  }

  /** Resolves when all states that wait have been put, or at the signal; then the others are dropped. */
  async flush(signal: AbortSignal = AbortSignal.timeout(FLUSH_MILLISECONDS)): Promise<void> {
    try {
      while (this.#departing) await unlessAborted(this.#departing, signal);
    } catch {
      for (const departure of this.#departures.splice(0)) this.#drop(departure);
    }
  }

  /** Ends all transfers. Requests that wait for a state can run. */
  async dispose(): Promise<void> {
    this.#disposal.abort(new StateStoreError('The engine was disposed of.'));
    for (const request of [...this.#arrivals.keys()]) this.forget(request);
    for (const departure of this.#departures.splice(0)) this.#drop(departure);
    await this.#departing;
  }

  async #bringIn(request: Request, arrival: Arrival, signal: AbortSignal): Promise<void> {
    const { promptTokenIds: tokenIds, cacheSalt } = request;
    const salt = isShared(cacheSalt) ? cacheSalt : undefined;
    const { states, savedStates } = this.#options;
    this.#counts.queries++;
    // Its blocks are shared by the state that comes, so it must stay.
    const held = states.find(tokenIds, salt);
    if (held) savedStates.retain(held);
    try {
      const known = held ?? { length: 0, blocks: [] };
      const found = await this.#transfers.find({ tokenIds, salt }, known, signal);
      this.#reads.end();
      for (const state of found) {
        const { key, length, bytes } = state;
        const tokens = length - known.length;
        const isOwn = !this.#fetches.has(key);
        if (isOwn && !(this.#rates.pays(tokens, bytes) && fits(this.#bytesComing, bytes))) continue;
        const begin = performance.now();
        const snapshot = await this.#fetch(state, signal);
        if (snapshot === undefined) continue;
        if (!isOwn) savedStates.retain(snapshot);
        if (this.#arrivals.get(request) !== arrival) return void savedStates.release(snapshot);
        arrival.snapshot = snapshot;
        this.#counts.hits++;
        this.#counts.hitTokens += tokens;
        const seconds = (performance.now() - begin) / 1000;
        this.#options.onEvent({ type: 'stateFetched', requestId: request.id, tokens, bytes, seconds });
        return;
      }
      this.#counts.misses++;
    } finally {
      if (held) savedStates.release(held);
    }
  }

  /** A state from the store, or the one that another request is fetching. Undefined where it did not come. */
  async #fetch(state: FoundState, signal: AbortSignal): Promise<Snapshot | undefined> {
    const { key } = state;
    const running = this.#fetches.get(key);
    if (running) return unlessAborted(running, signal);
    const fetched = this.#fetchAlone(state, signal);
    this.#fetches.set(
      key,
      fetched.catch(() => undefined),
    );
    try {
      return await fetched;
    } finally {
      this.#fetches.delete(key);
    }
  }

  /** The caller owns the snapshot. */
  async #fetchAlone(state: FoundState, signal: AbortSignal): Promise<Snapshot | undefined> {
    const { key, bytes } = state;
    const begin = performance.now();
    this.#bytesComing += bytes;
    try {
      const snapshot = await this.#transfers.fetch(state, signal);
      this.#counts.bytesRead += bytes;
      this.#rates.fetched(bytes, (performance.now() - begin) / 1000);
      this.#remember(key);
      return snapshot;
    } catch (error) {
      if (error instanceof MissingValue) return undefined;
      if (isDamage(error) && !signal.aborted) {
        this.#counts.damaged++;
        this.#tell(error, undefined);
        return undefined;
      }
      if (isLate(signal)) this.#rates.fetched(bytes, (performance.now() - begin) / 1000);
      throw error;
    } finally {
      this.#bytesComing -= bytes;
    }
  }

  #readFailed(error: unknown, signal: AbortSignal): void {
    // A request that has left says nothing of the store.
    if (signal.aborted && !isLate(signal)) return;
    this.#counts.misses++;
    this.#fail(this.#reads, signal.aborted ? late() : asError(error));
  }

  #hasRoom(length: number): boolean {
    const bytes = this.#transfers.bytesOf(length);
    if (!this.#rates.pays(length, bytes)) return false;
    const hasRoom = this.#writes.isOver && fits(this.#bytesLeaving, bytes);
    if (!hasRoom) this.#counts.droppedPuts++;
    return hasRoom;
  }

  /** Takes a pinned snapshot to put it in its turn. */
  #depart(tokenIds: readonly number[], salt: string | undefined, snapshot: Snapshot): void {
    const bytes = this.#transfers.bytesOf(snapshot.length);
    this.#departures.push({ text: { tokenIds, salt }, snapshot, bytes });
    this.#bytesLeaving += bytes;
    this.#numLeaving++;
    this.#departing ??= this.#departAll();
  }

  /** One after another, so that steps get their turn at the ranks. Answers go out first. */
  async #departAll(): Promise<void> {
    await yieldToEventLoop();
    for (let next = this.#departures.shift(); next; next = this.#departures.shift()) {
      if (!this.#writes.isOver) {
        this.#drop(next);
        continue;
      }
      const begin = performance.now();
      const signal = AbortSignal.any([this.#disposal.signal, AbortSignal.timeout(PUT_MILLISECONDS)]);
      try {
        const { key, bytes } = await this.#transfers.put(next.snapshot, next.text, (key) => this.#isFresh(key), signal);
        this.#writes.end();
        if (bytes > 0) {
          this.#remember(key);
          this.#counts.puts++;
          this.#counts.bytesWritten += bytes;
          const seconds = (performance.now() - begin) / 1000;
          this.#options.onEvent({ type: 'statePut', tokens: next.snapshot.length, bytes, seconds });
        }
      } catch (error) {
        this.#counts.droppedPuts++;
        if (!(error instanceof ExportError || this.#disposal.signal.aborted)) {
          this.#fail(this.#writes, signal.aborted ? late() : asError(error));
        }
      }
      this.#release(next);
    }
    this.#departing = undefined;
  }

  #drop(departure: Departure): void {
    this.#counts.droppedPuts++;
    this.#release(departure);
  }

  #release({ snapshot, bytes }: Departure): void {
    this.#bytesLeaving -= bytes;
    this.#numLeaving--;
    this.#options.savedStates.release(snapshot);
  }

  #remember(key: string): void {
    this.#fresh.delete(key);
    this.#fresh.set(key, performance.now());
    const [oldest] = this.#fresh.keys();
    if (this.#fresh.size > MOST_FRESH) this.#fresh.delete(oldest);
  }

  #isFresh(key: string): boolean {
    const at = this.#fresh.get(key);
    return at !== undefined && performance.now() - at < FRESH_MILLISECONDS;
  }

  #fail(outage: Outage, error: Error): void {
    this.#counts.failures++;
    const pause = outage.begin();
    if (pause !== undefined) this.#tell(error, pause / 1000);
  }

  #tell(error: Error, retrySeconds: number | undefined): void {
    this.#options.onEvent({ type: 'stateStoreFailed', error, retrySeconds });
  }
}

/** Whether a state may go along with others. One that is larger than the limit goes alone. */
function fits(others: number, bytes: number): boolean {
  return others === 0 || others + bytes <= MOST_BYTES;
}

/** Whether states with a salt are shared: a symbol is known to this process only. */
function isShared(salt: CacheSalt): salt is string | undefined {
  return typeof salt !== 'symbol';
}

/** Whether a signal came because time is up. */
function isLate({ aborted, reason }: AbortSignal): boolean {
  return aborted && reason instanceof DOMException && reason.name === 'TimeoutError';
}

function late(): StateStoreError {
  return new StateStoreError(
    'The store of states has not answered in time.',
    'Look whether it is there, and how busy.',
  );
}

import { unlessAborted } from '../../distributed/abortable.ts';
import { StateStoreError } from '../../errors.ts';
import type { SavedPart, SavedStates } from '../schedule/saved-states.ts';
import type { KnownPrefix } from '../schedule/state-manager.ts';
import type { Snapshot } from '../state/snapshot.ts';
import type { StateStore } from './homes/state-store.ts';
import { type ListedState, PLACE_TOKENS, type Place, StateKeys } from './state-keys.ts';
import { decodeValue, encodeValue, valueBytes } from './state-value.ts';

/** A text of one tenant. */
export interface SaltedTokens {
  readonly tokenIds: readonly number[];
  readonly salt: string | undefined;
}

/** A value of a state: its key, and its part of the state. */
interface StoredPart extends SavedPart {
  readonly key: string;
  /** Number of logits with it. */
  readonly logits: number;
}

/** A state that a store has, and how to get it. */
export interface FoundState {
  readonly text: SaltedTokens;
  readonly key: string;
  readonly length: number;
  /** Values to get: first the state, then the keys and values that are not known here. */
  readonly parts: readonly StoredPart[];
  readonly known: KnownPrefix;
  readonly bytes: number;
}

/** A value was not there, though the store had listed it. */
export class MissingValue extends Error {}

export interface StateTransfersOptions {
  readonly store: StateStore;
  /** All that states depend on besides tokens. */
  readonly model: () => Promise<string>;
  readonly savedStates: SavedStates;
  readonly vocabSize: number;
}

/** Most states of a text that are tried, one after the other, where values are missing or damaged. */
const MOST_TRIES = 3;
/** Damaged values that are remembered. */
const MOST_SUSPECTS = 1000;

/**
 * States between ranks and a store. A state is one value: itself, its logits, and the keys and values of its last tokens.
 * Keys and values of each 256 tokens before are values of their own, shared by all states that begin so: therefore a turn
 * of a conversation adds only its own.
 */
export class StateTransfers {
  readonly #options: StateTransfersOptions;
  #keys: Promise<StateKeys> | undefined;
  /** Keys whose values were damaged: they are written again, whatever the store has there. */
  readonly #suspects = new Set<string>();

  constructor(options: StateTransfersOptions) {
    this.#options = options;
  }

  /** Bytes of the state after so many tokens, of which some are known here. */
  bytesOf(length: number, known = 0): number {
    const { savedStates, vocabSize } = this.#options;
    const begin = this.#isHybrid ? wholePlaces(known) : 0;
    return valueBytes(savedStates.partLength({ begin, end: length, hasState: true }) + vocabSize);
  }

  /** The states that the store lists of a text's beginnings, the longest first. */
  async find(text: SaltedTokens, known: KnownPrefix, signal: AbortSignal): Promise<FoundState[]> {
    const { store } = this.#options;
    const keys = await this.#stateKeys();
    const { tokenIds, salt } = text;
    const places = await keys.places(tokenIds, salt);
    const listed = await unlessAborted(
      store.list(
        places.map(({ name }) => name),
        signal,
      ),
      signal,
    );
    const found: FoundState[] = [];
    for await (const state of keys.find(places, listed, tokenIds, known.length)) {
      if (this.#suspects.has(state.key)) continue;
      found.push(this.#plan(text, state, places, known, keys));
      if (found.length === MOST_TRIES) break;
    }
    return found;
  }

  /**
   * Gets a state and gives it to the ranks. The caller owns the snapshot. Undefined: there is no room for it. Rejects with
   * MissingValue, StateStoreError, or the signal's reason.
   */
  async fetch(found: FoundState, signal: AbortSignal): Promise<Snapshot | undefined> {
    const { store, savedStates } = this.#options;
    const { text, length, parts, known } = found;
    const keys = parts.map(({ key }) => key);
    const values = await unlessAborted(store.get(keys, signal), signal);
    const decoded = await Promise.all(parts.map((part, i) => this.#decode(part, values[i])));
    signal.throwIfAborted();
    return savedStates.writeParts({
      tokenIds: text.tokenIds.slice(0, length),
      logits: decoded.find(({ logits }) => logits)?.logits,
      salt: text.salt,
      parts: decoded,
      known: this.#isHybrid ? known : undefined,
    });
  }

  /**
   * Puts a snapshot, and those of its keys and values that the store lacks. Rejects with {@link ExportError} where the ranks
   * could not give them.
   * @param text that led to it
   * @param isFresh whether the value of a key was put or seen lately: then there is nothing to do.
   * @returns the state's key, and bytes that were put
   */
  async put(
    snapshot: Snapshot,
    { tokenIds, salt }: SaltedTokens,
    isFresh: (key: string) => boolean,
    signal: AbortSignal,
  ): Promise<{ readonly key: string; readonly bytes: number }> {
    const { store } = this.#options;
    const keys = await this.#stateKeys();
    const { length, logits } = snapshot;
    const places = await keys.places(tokenIds.slice(0, length), salt);
    const key = await keys.keyOf(places, tokenIds, { length, hasLogits: logits !== undefined });
    if (isFresh(key)) return { key, bytes: 0 };
    const before = this.#isHybrid ? this.#partsBetween(keys, places, 0, wholePlaces(length)) : [];
    const isThere = before.length === 0 ? [] : await unlessAborted(store.touch(before.map((part) => part.key)), signal);
    const missing = before.filter((part, i) => !isThere[i] || this.#suspects.has(part.key));
    const last = { key, begin: this.#isHybrid ? wholePlaces(length) : 0, end: length, hasState: true, logits: 0 };
    let bytes = 0;
    // The state comes last: a reader that finds it finds all of it.
    for (const part of [...missing, last]) bytes += await this.#putPart(snapshot, part, signal);
    return { key, bytes };
  }

  get #isHybrid(): boolean {
    return this.#options.savedStates.footprint.kvCache !== undefined;
  }

  #stateKeys(): Promise<StateKeys> {
    this.#keys ??= this.#options.model().then(
      (model) => new StateKeys(model),
      (error: unknown) => {
        // The next request may fare better.
        this.#keys = undefined;
        throw error;
      },
    );
    return this.#keys;
  }

  #plan(
    text: SaltedTokens,
    { key, length, hasLogits }: ListedState,
    places: readonly Place[],
    known: KnownPrefix,
    keys: StateKeys,
  ): FoundState {
    const [shared, last] = this.#isHybrid ? [wholePlaces(known.length), wholePlaces(length)] : [0, 0];
    const { blockSize = 1 } = this.#options.savedStates.footprint.kvCache ?? {};
    const logits = hasLogits ? this.#options.vocabSize : 0;
    const state = { key, begin: last, end: length, hasState: true, logits };
    const parts = [state, ...this.#partsBetween(keys, places, shared, last)];
    const blocks = known.blocks.slice(0, shared / blockSize);
    return { text, key, length, parts, known: { length: shared, blocks }, bytes: this.bytesOf(length, known.length) };
  }

  /** The keys and values of the tokens between two places. */
  #partsBetween(keys: StateKeys, places: readonly Place[], begin: number, end: number): StoredPart[] {
    return Array.from({ length: (end - begin) / PLACE_TOKENS }, (_, i) => {
      const at = begin + i * PLACE_TOKENS;
      const place = places[at / PLACE_TOKENS + 1];
      return { key: keys.keysAndValuesOf(place), begin: at, end: at + PLACE_TOKENS, hasState: false, logits: 0 };
    });
  }

  async #decode(part: StoredPart, value: Uint8Array | undefined) {
    if (!value) throw new MissingValue(`'${part.key}' is gone.`);
    const values = this.#options.savedStates.partLength(part);
    try {
      const vectors = await decodeValue(part.key, value, { values, logits: part.logits });
      return { ...part, values: vectors.values, logits: part.logits > 0 ? vectors.logits : undefined };
    } catch (error) {
      if (this.#suspects.size >= MOST_SUSPECTS) this.#suspects.clear();
      this.#suspects.add(part.key);
      throw error;
    }
  }

  /** @returns bytes that were put */
  async #putPart(snapshot: Snapshot, part: StoredPart, signal: AbortSignal): Promise<number> {
    const { store, savedStates } = this.#options;
    if (!savedStates.has(snapshot)) throw new ExportError('The state was dropped.');
    const values = await savedStates.readPart(snapshot, part).catch((cause: unknown) => {
      throw new ExportError('The ranks did not give the state.', { cause });
    });
    const logits = part.hasState ? (snapshot.logits ?? new Float32Array()) : new Float32Array();
    const value = await encodeValue(part.key, { values, logits });
    if (value.length > (store.maxValueBytes ?? Number.POSITIVE_INFINITY)) {
      throw new ExportError(`The store takes no value of ${value.length} bytes.`);
    }
    await unlessAborted(store.put(part.key, value, signal), signal);
    this.#suspects.delete(part.key);
    return value.length;
  }
}

/** A state could not be put for a reason that is not the store's. */
export class ExportError extends Error {}

/** Whether an error says that a value was not what had been put. */
export function isDamage(error: unknown): error is StateStoreError {
  return error instanceof StateStoreError;
}

/** Tokens of the whole places in a number of tokens. */
function wholePlaces(length: number): number {
  return length - (length % PLACE_TOKENS);
}

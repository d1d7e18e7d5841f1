/**
 * Where states lie that several machines share. Each value has a key `place/name`: a place stands for the first tokens of
 * some texts, and its values for what follows from these. Both are at most 64 of the characters `a-z`, `0-9` and `-`.
 *
 * A store may lose what it likes, be slow, fail or hang: a state that is not there is computed. So implementations need
 * neither repeat requests nor check values, which are checked before they are used.
 *
 * @example
 * ```ts
 * const values = new Map<string, Uint8Array>();
 * const stateStore: StateStore = {
 *   list: async (places) =>
 *     places.map((place) => [...values.keys()].filter((key) => key.startsWith(`${place}/`)).map((key) => key.slice(place.length + 1))),
 *   get: async (keys) => keys.map((key) => values.get(key)),
 *   put: async (key, value) => void values.set(key, value),
 *   touch: async (keys) => keys.map((key) => values.has(key)),
 *   close: async () => values.clear(),
 * };
 * const llm = await LLM.load('tiny-dts', { stateStore });
 * ```
 */
export interface StateStore {
  /** Bytes that a value may have. Default: no limit. */
  readonly maxValueBytes?: number | undefined;
  /** Names of the values at each place, perhaps only the newest 1,000. One round trip, if possible. */
  list(places: readonly string[], signal?: AbortSignal): Promise<readonly (readonly string[])[]>;
  /** The values of some keys; undefined where there is none. */
  get(keys: readonly string[], signal?: AbortSignal): Promise<readonly (Uint8Array | undefined)[]>;
  /** Stores a value, in place of an earlier one. A reader never gets a part of it. */
  put(key: string, value: Uint8Array<ArrayBuffer>, signal?: AbortSignal): Promise<void>;
  /** Lets values live as long as if they had been put now, and says which are there. */
  touch(keys: readonly string[], signal?: AbortSignal): Promise<readonly boolean[]>;
  /** Closes connections. Nothing is asked of it afterwards. */
  close(): Promise<void>;
}

/** Names that a store lists of one place: more texts that begin alike are seldom continued at the same time. */
export const MAX_NAMES = 1000;

/** Prefix of keys in stores that also hold other things. */
export const KEY_PREFIX = 'mamba2/';

/** A key's place and name. */
export function splitKey(key: string): readonly [place: string, name: string] {
  const at = key.indexOf('/');
  return [key.slice(0, at), key.slice(at + 1)];
}

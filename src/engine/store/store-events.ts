/** What passes between an engine and its store of states. Times are in seconds. */
export type StateStoreEvent =
  | {
      /** A request continues from a state that came from the store. */
      readonly type: 'stateFetched';
      readonly requestId: string;
      /** Tokens of the prompt that need not be computed for it, besides those that were known here. */
      readonly tokens: number;
      readonly bytes: number;
      readonly seconds: number;
    }
  | { readonly type: 'statePut'; readonly tokens: number; readonly bytes: number; readonly seconds: number }
  | {
      /** The store failed, or held a damaged value. Requests do without it. */
      readonly type: 'stateStoreFailed';
      readonly error: Error;
      /** Time for which it is not asked; undefined: it is asked as before. */
      readonly retrySeconds: number | undefined;
    };

/** Counts of an engine's store of states. */
export interface StateStoreStats {
  /** Requests that were looked up, and those that continue from a state of the store. */
  readonly queries: number;
  readonly hits: number;
  /** Requests for which it had nothing, or whose states would have come later than they were computed. */
  readonly misses: number;
  /** Tokens that were not computed because of the hits. */
  readonly hitTokens: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  /** States that were put, and those that were not, because too many waited or the store failed. */
  readonly puts: number;
  readonly droppedPuts: number;
  /** States that wait to be put, and their bytes. */
  readonly pendingPuts: number;
  readonly pendingBytes: number;
  /** Values that were not what had been put. */
  readonly damaged: number;
  /** Times that the store failed, or was late. */
  readonly failures: number;
}

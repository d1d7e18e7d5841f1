import { type StateStore, splitKey } from './state-store.ts';

/** A value's size, and the time at which it was last used, in milliseconds since 1970. */
export interface StoredValue {
  readonly bytes: number;
  readonly usedAt: number;
}

/** A folder of files by place and name, on a disk or in a browser. */
export interface KeyFolder {
  places(): Promise<readonly string[]>;
  names(place: string): Promise<readonly string[]>;
  read(place: string, name: string, signal: AbortSignal | undefined): Promise<Uint8Array | undefined>;
  /** Readers see all of the value or none. */
  write(place: string, name: string, value: Uint8Array, signal: AbortSignal | undefined): Promise<void>;
  /** Notes that a value is used now. False: it is not there. */
  touch(place: string, name: string): Promise<boolean>;
  describe(place: string, name: string): Promise<StoredValue | undefined>;
  remove(place: string, name: string): Promise<void>;
  /** Removes a place that has no values any more. */
  removePlace(place: string): Promise<void>;
}

/** Milliseconds between two looks at how full the folder is. */
const TIDY_MILLISECONDS = 60_000;
/** Share of the limit that is left of a folder that was full. */
const KEPT_SHARE = 0.9;
/** Age at which what a writer left unfinished is removed. */
const ABANDONED_MILLISECONDS = 600_000;

/** A store in a folder. It removes the values that were not used for longest when they take more than a limit. */
export class KeyFolderStore implements StateStore {
  readonly #folder: KeyFolder;
  readonly #maxBytes: number;
  /** Bytes since the last look. */
  #bytesPut = Number.POSITIVE_INFINITY;
  #tidiedAt = Number.NEGATIVE_INFINITY;
  #tidying: Promise<void> | undefined;

  constructor(folder: KeyFolder, maxBytes: number) {
    this.#folder = folder;
    this.#maxBytes = maxBytes;
  }

  list(places: readonly string[]): Promise<readonly (readonly string[])[]> {
    return Promise.all(places.map((place) => this.#folder.names(place)));
  }

  get(keys: readonly string[], signal?: AbortSignal): Promise<readonly (Uint8Array | undefined)[]> {
    return Promise.all(
      keys.map(async (key) => {
        const [place, name] = splitKey(key);
        const value = await this.#folder.read(place, name, signal);
        if (value) await this.#folder.touch(place, name);
        return value;
      }),
    );
  }

  async put(key: string, value: Uint8Array<ArrayBuffer>, signal?: AbortSignal): Promise<void> {
    await this.#folder.write(...splitKey(key), value, signal);
    this.#bytesPut += value.length;
    const now = performance.now();
    const isDue = now - this.#tidiedAt > TIDY_MILLISECONDS || this.#bytesPut > this.#maxBytes / 10;
    if (!isDue || this.#tidying) return;
    this.#tidiedAt = now;
    this.#bytesPut = 0;
    // Others may be tidying too; what one of them does not find is gone already.
    this.#tidying = this.#tidy()
      .catch(() => {})
      .finally(() => {
        this.#tidying = undefined;
      });
    await this.#tidying;
  }

  touch(keys: readonly string[]): Promise<readonly boolean[]> {
    return Promise.all(keys.map((key) => this.#folder.touch(...splitKey(key))));
  }

  async close(): Promise<void> {
    await this.#tidying;
  }

  async #tidy(): Promise<void> {
    const values: (StoredValue & { readonly place: string; readonly name: string })[] = [];
    const now = Date.now();
    for (const place of await this.#folder.places()) {
      const names = await this.#folder.names(place);
      if (names.length === 0) await this.#folder.removePlace(place);
      for (const name of names) {
        const value = await this.#folder.describe(place, name);
        if (!value) continue;
        const isAbandoned = name.endsWith('.tmp') && now - value.usedAt > ABANDONED_MILLISECONDS;
        if (isAbandoned) await this.#folder.remove(place, name);
        else values.push({ ...value, place, name });
      }
    }
    let bytes = values.reduce((sum, value) => sum + value.bytes, 0);
    if (bytes <= this.#maxBytes) return;
    for (const value of values.sort((a, b) => a.usedAt - b.usedAt)) {
      if (bytes <= this.#maxBytes * KEPT_SHARE) return;
      await this.#folder.remove(value.place, value.name);
      bytes -= value.bytes;
    }
  }
}

import { ArgumentError, MissingPackageError } from '../../../errors.ts';
import { withResolvers } from '../../../util/with-resolvers.ts';
import { KEY_PREFIX, MAX_NAMES, type StateStore, splitKey } from './state-store.ts';

type Redis = typeof import('redis');
type Client = ReturnType<typeof connect>;

/** Limit of Redis itself for one value. */
const MAX_VALUE_BYTES = 2 ** 29 - 1;
/** Time for a connection, and for an answer: then the connection is given up, as what waits in it holds memory. */
const CONNECT_MILLISECONDS = 5000;
const ANSWER_MILLISECONDS = 15_000;
/** Longest pause between two tries to connect. */
const MAX_PAUSE_MILLISECONDS = 2000;

/**
 * States in Redis or Valkey, for `ttl` seconds after they were last used. A place is a sorted set of names by the time at
 * which they were last used.
 */
export class RedisStateStore implements StateStore {
  readonly maxValueBytes = MAX_VALUE_BYTES;
  readonly #connect: () => Client;
  readonly #prefix: string;
  readonly #ttl: number;
  #client: Client;
  #isClosed = false;

  private constructor(connect: () => Client, { prefix, ttl }: { readonly prefix: string; readonly ttl: number }) {
    this.#connect = connect;
    this.#prefix = prefix;
    this.#ttl = ttl;
    this.#client = connect();
  }

  /**
   * Begins to connect; the server may come later. Rejects with MissingPackageError where `redis` is not installed, and
   * with ArgumentError for a URL that is none of Redis.
   * @param url `redis://` or `rediss://` (TLS), with user, password and number of the database where they are needed; as
   *   parameters `ttl` in seconds (default: 3600) and `prefix` of all keys (default: `mamba2/`).
   */
  static async open(url: URL): Promise<RedisStateStore> {
    const prefix = url.searchParams.get('prefix') ?? KEY_PREFIX;
    const ttl = Number(url.searchParams.get('ttl') ?? 3600);
    if (!Number.isInteger(ttl) || ttl < 1) {
      throw new ArgumentError(
        `The state store's ttl is ${url.searchParams.get('ttl')}.`,
        'Give whole seconds from 1 on.',
      );
    }
    const plain = new URL(url);
    plain.search = '';
    let redis: Redis;
    try {
      redis = await import('redis');
    } catch (cause) {
      throw new MissingPackageError("A state store in Redis needs the package 'redis'.", 'npm install redis', {
        cause,
      });
    }
    try {
      return new RedisStateStore(() => connect(redis, plain.href), { prefix, ttl });
    } catch (cause) {
      throw new ArgumentError(
        `The state store's URL is not one of Redis: ${cause instanceof Error ? cause.message : cause}.`,
        "Write 'redis://host:6379/0', with 'rediss' for TLS and 'user:password@' before the host.",
        { cause },
      );
    }
  }

  list(places: readonly string[]): Promise<readonly (readonly string[])[]> {
    return this.#ask((client) =>
      Promise.all(places.map((place) => client.zRange(this.#placeKey(place), 0, MAX_NAMES - 1, { REV: true }))),
    );
  }

  async get(keys: readonly string[]): Promise<readonly (Uint8Array | undefined)[]> {
    const values = await this.#ask((client) =>
      Promise.all(keys.map((key) => client.bytes.getEx(this.#key(key), { type: 'EX', value: this.#ttl }))),
    );
    const used = keys.map((key, i) => [key, values[i] === null ? 'gone' : 'used'] as const);
    // The caller need not wait for it.
    this.#ask((client) => Promise.all(used.map(([key, fate]) => this.#rename(client, key, fate)))).catch(() => {});
    return values.map((value) => value ?? undefined);
  }

  async put(key: string, value: Uint8Array<ArrayBuffer>): Promise<void> {
    const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    const expiration = { type: 'EX', value: this.#ttl } as const;
    await this.#ask((client) =>
      Promise.all([client.set(this.#key(key), bytes, { expiration }), this.#rename(client, key, 'put')]),
    );
  }

  touch(keys: readonly string[]): Promise<readonly boolean[]> {
    return this.#ask((client) =>
      Promise.all(
        keys.map(async (key) => {
          const isThere = (await client.expire(this.#key(key), this.#ttl)) === 1;
          await this.#rename(client, key, isThere ? 'used' : 'gone');
          return isThere;
        }),
      ),
    );
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#client.destroy();
  }

  /** Makes a name the newest of its place, or takes it away; drops those whose time is over. */
  async #rename(client: Client, key: string, fate: 'put' | 'used' | 'gone'): Promise<void> {
    const [place, value] = splitKey(key);
    const placeKey = this.#placeKey(place);
    if (fate === 'gone') return void (await client.zRem(placeKey, value));
    const now = Math.floor(Date.now() / 1000);
    await Promise.all([
      client.zAdd(placeKey, { score: now, value }, fate === 'used' ? { condition: 'XX' } : {}),
      client.zRemRangeByScore(placeKey, 0, now - this.#ttl),
      client.zRemRangeByRank(placeKey, 0, -1 - MAX_NAMES),
      client.expire(placeKey, this.#ttl),
    ]);
  }

  #key(key: string): string {
    return `${this.#prefix}state:${key}`;
  }

  #placeKey(place: string): string {
    return `${this.#prefix}place:${place}`;
  }

  /** Commands that are given in one turn go out together. */
  async #ask<T>(ask: (client: Client) => Promise<T>): Promise<T> {
    const client = this.#client;
    const late = withResolvers<never>();
    const timer = setTimeout(() => {
      late.reject(new Error(`Redis has not answered for ${ANSWER_MILLISECONDS / 1000} s.`));
      if (this.#client !== client || this.#isClosed) return;
      client.destroy();
      this.#client = this.#connect();
    }, ANSWER_MILLISECONDS);
    try {
      return await Promise.race([ask(client), late.promise]);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** A client that connects, and connects again, by itself. Until it has, commands are refused at once. */
function connect({ createClient, RESP_TYPES }: Redis, url: string) {
  const client = createClient({
    url,
    disableOfflineQueue: true,
    socket: {
      connectTimeout: CONNECT_MILLISECONDS,
      reconnectStrategy: (tries) => Math.min(50 * 2 ** tries, MAX_PAUSE_MILLISECONDS),
    },
  });
  // Commands that fail for it say so themselves.
  client.on('error', () => {});
  client.connect().catch(() => {});
  return Object.assign(client, { bytes: client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer }) });
}

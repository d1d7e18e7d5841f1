import type { StateStore } from '../../../src/engine/store/homes/state-store.ts';

/** A store in memory, whose values tests can look at, change and lose. */
export class MemoryStore implements StateStore {
  readonly values = new Map<string, Uint8Array<ArrayBuffer>>();
  maxValueBytes: number | undefined;
  /** Awaited before each call, with its name. */
  before: (call: 'list' | 'get' | 'put' | 'touch') => Promise<void> | void = () => {};
  readonly puts: string[] = [];
  readonly gets: string[] = [];

  async list(places: readonly string[]): Promise<readonly (readonly string[])[]> {
    await this.before('list');
    const keys = [...this.values.keys()].map((key) => key.split('/'));
    return places.map((place) => keys.flatMap(([at, name]) => (at === place ? [name] : [])));
  }

  async get(keys: readonly string[]): Promise<readonly (Uint8Array | undefined)[]> {
    await this.before('get');
    this.gets.push(...keys);
    return keys.map((key) => this.values.get(key));
  }

  async put(key: string, value: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.before('put');
    this.puts.push(key);
    this.values.set(key, value.slice());
  }

  async touch(keys: readonly string[]): Promise<readonly boolean[]> {
    await this.before('touch');
    return keys.map((key) => this.values.has(key));
  }

  async close(): Promise<void> {}
}

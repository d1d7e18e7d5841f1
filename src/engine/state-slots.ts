/** Hands out the slots of the state cache. Who finds none free waits, first come first served. */
export class StateSlots {
  readonly #free: number[];
  readonly #waiting: ((slot: number) => void)[] = [];

  constructor(count: number) {
    this.#free = Array.from({ length: count }, (_, i) => count - 1 - i);
  }

  /** Rejects with the signal's reason when that comes first. */
  async acquire(signal?: AbortSignal): Promise<number> {
    signal?.throwIfAborted();
    const slot = this.#free.pop();
    if (slot !== undefined) return slot;
    return new Promise((resolve, reject) => {
      const take = (freed: number) => {
        signal?.removeEventListener('abort', leave);
        resolve(freed);
      };
      const leave = () => {
        this.#waiting.splice(this.#waiting.indexOf(take), 1);
        reject(signal?.reason);
      };
      this.#waiting.push(take);
      signal?.addEventListener('abort', leave, { once: true });
    });
  }

  release(slot: number): void {
    const next = this.#waiting.shift();
    if (next) next(slot);
    else this.#free.push(slot);
  }
}

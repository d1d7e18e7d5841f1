import { IntegrityError } from '../../errors.ts';

/** Hands out the slots of the state cache and takes them back. */
export class StateSlots<Owner extends object> {
  readonly count: number;
  readonly #free: number[];
  readonly #owners = new Map<number, Owner>();

  constructor(count: number) {
    this.count = count;
    this.#free = Array.from({ length: count }, (_, i) => count - 1 - i);
  }

  get numFree(): number {
    return this.#free.length;
  }

  /** undefined: none is free. */
  acquire(owner: Owner): number | undefined {
    const slot = this.#free.pop();
    if (slot !== undefined) this.#owners.set(slot, owner);
    return slot;
  }

  /** @throws IntegrityError when the slot is not the owner's. */
  release(slot: number, owner: Owner): void {
    if (this.#owners.get(slot) !== owner)
      throw new IntegrityError(`Slot ${slot} was released by a sequence that does not own it.`);
    this.#owners.delete(slot);
    this.#free.push(slot);
  }

  /** @throws IntegrityError unless every slot is free or has the one owner that says so. */
  checkIntegrity(claims: ReadonlyMap<Owner, number>): void {
    const free = new Set(this.#free);
    if (free.size !== this.#free.length) throw new IntegrityError('A slot is free twice.');
    if (free.size + this.#owners.size !== this.count) {
      throw new IntegrityError(`${free.size} slots are free and ${this.#owners.size} owned, of ${this.count}.`);
    }
    for (const [slot, owner] of this.#owners) {
      if (free.has(slot)) throw new IntegrityError(`Slot ${slot} is free and owned.`);
      if (claims.get(owner) !== slot)
        throw new IntegrityError(`Slot ${slot} is owned by a sequence that does not run.`);
    }
    if (claims.size !== this.#owners.size) {
      throw new IntegrityError(`${claims.size} sequences run in ${this.#owners.size} slots.`);
    }
  }
}

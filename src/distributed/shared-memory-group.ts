import { ArgumentError, RankFailedError } from '../errors.ts';
import { hardwareThreads } from './hardware-threads.ts';
import type { AddArrays, ProcessGroup } from './process-group.ts';

// Words of the control block.
const ARRIVED = 0;
const GENERATION = 1;
const FAILED = 2;
const CONTROL_WORDS = 16;

/** Floats that one rank can pass in one round; longer arrays go in several. */
const WINDOW = 1 << 18;

/** Spins before a rank sleeps, some 100 µs: waking up takes longer than the other ranks usually need. */
const SPINS = 20_000;
/** Spins that take as long as one look for a message of another process. */
const SPINS_PER_LOOK = 100;
/** Sleep of a rank that waits for another process, between two looks. */
const NAP_MILLISECONDS = 0.05;

/** Memory that the ranks of a {@link SharedMemoryGroup} exchange through. Post it to every worker. */
export interface GroupMemory {
  /** Ranks of the group, those of other processes included. */
  readonly size: number;
  readonly own: RankRange;
  /** Looks at the barrier before a rank goes to sleep. */
  readonly spins: number;
  readonly buffer: SharedArrayBuffer;
}

/** Ranks of a group that one process has: `count` from `first` on. */
export interface RankRange {
  readonly first: number;
  readonly count: number;
}

/** Exchange with the other processes of a group. Called by the first rank of this process, for all of its ranks. */
export interface ProcessExchange {
  /**
   * Gives the other processes the arrays of this one's ranks, and fills in those of theirs.
   * @param windows one array per rank of the group, all of one length, one after another in memory.
   * @param rest called while it waits: returns after a moment, or throws where another rank has failed.
   */
  exchange(windows: readonly Float32Array[], rest: (looks: number) => void): void;
  /** Begins anew: what is under way belongs to a step that was given up. */
  reset(): void;
}

/**
 * @param own ranks of this process. Default: all.
 * @example
 * ```ts
 * const memory = createGroupMemory(2);
 * const worker = new Worker('rank.js', { type: 'module' });
 * worker.postMessage(memory); // there: new SharedMemoryGroup(memory, 1)
 * ```
 */
export function createGroupMemory(size: number, own: RankRange = { first: 0, count: size }): GroupMemory {
  if (!Number.isInteger(size) || size < 1) {
    throw new ArgumentError(`A process group of ${size} ranks was asked for.`, 'Use a whole number from 1 on.');
  }
  // Where ranks share a processor, one that spins keeps the others from arriving.
  const spins = own.count <= hardwareThreads() ? SPINS : 0;
  return { size, own, spins, buffer: new SharedArrayBuffer(4 * (CONTROL_WORDS + 2 * size * WINDOW)) };
}

/**
 * Releases every rank that waits, now and later: each throws {@link RankFailedError} instead of hanging.
 *
 * @example
 * ```ts
 * const memory = createGroupMemory(2);
 * const worker = new Worker('rank.js', { type: 'module' });
 * worker.onerror = () => failGroup(memory); // the other rank must not wait for it
 * ```
 */
export function failGroup(memory: GroupMemory): void {
  const control = new Int32Array(memory.buffer, 0, CONTROL_WORDS);
  Atomics.store(control, FAILED, 1);
  Atomics.add(control, GENERATION, 1);
  Atomics.notify(control, GENERATION);
}

/** Makes a failed group usable again, once no rank is in a collective. Each rank then calls `reset` before its next one. */
export function resetGroup(memory: GroupMemory): void {
  const control = new Int32Array(memory.buffer, 0, CONTROL_WORDS);
  Atomics.store(control, ARRIVED, 0);
  Atomics.store(control, FAILED, 0);
}

/**
 * A process group of threads: each rank writes a window, all meet at a barrier, each reads all windows.
 *
 * @example
 * ```ts
 * const group = new SharedMemoryGroup(createGroupMemory(1), 0);
 * const values = new Float32Array([1, 2]);
 * group.allReduce([values]); // the sum over all ranks: here there is one
 * ```
 */
export class SharedMemoryGroup implements ProcessGroup {
  readonly rank: number;
  readonly size: number;
  readonly #control: Int32Array;
  readonly #spins: number;
  /** Two windows per rank, used alternately: a rank may still read one while another rank writes the other. */
  readonly #windows: readonly [Float32Array[], Float32Array[]];
  #turn: 0 | 1 = 0;
  readonly #own: RankRange;
  /** Absent where all ranks are threads of this process. */
  readonly #others: ProcessExchange | undefined;

  constructor(memory: GroupMemory, rank: number, others?: ProcessExchange) {
    checkRank(rank, memory.size);
    this.#own = memory.own;
    this.#others = others;
    this.rank = rank;
    this.size = memory.size;
    this.#spins = memory.spins;
    this.#control = new Int32Array(memory.buffer, 0, CONTROL_WORDS);
    const window = (turn: number, r: number) =>
      new Float32Array(memory.buffer, 4 * (CONTROL_WORDS + (turn * memory.size + r) * WINDOW), WINDOW);
    const ranks = Array.from({ length: memory.size }, (_, r) => r);
    this.#windows = [ranks.map((r) => window(0, r)), ranks.map((r) => window(1, r))];
  }

  reset(): void {
    this.#turn = 0;
    this.#others?.reset();
  }

  allReduce(data: readonly Float32Array[], add: AddArrays = addInOrder): void {
    this.#exchange(data, (parts, windows) => {
      for (const { array, begin, at, length } of parts) {
        const shown = windows.map((window) => window.subarray(at, at + length));
        add(shown, array.subarray(begin, begin + length), this.rank);
      }
    });
  }

  allGather(data: readonly Float32Array[], out: readonly (readonly Float32Array[])[]): void {
    data.forEach((array, i) => {
      out[this.rank][i].set(array);
    });
    this.#exchange(data, (parts, windows) => {
      for (const { index, begin, at, length } of parts) {
        windows.forEach((window, r) => {
          if (r !== this.rank) out[r][index].set(window.subarray(at, at + length), begin);
        });
      }
    });
  }

  broadcast(data: Float32Array, source: number): void {
    checkRank(source, this.size);
    this.#exchange([data], (parts, windows) => {
      for (const { begin, at, length } of parts) data.set(windows[source].subarray(at, at + length), begin);
    });
  }

  /** Shows arrays to all ranks, a window full at a time, and lets `receive` read what every rank showed. */
  #exchange(
    data: readonly Float32Array[],
    receive: (parts: readonly WindowPart[], windows: readonly Float32Array[]) => void,
  ): void {
    for (const parts of windowsFull(data)) {
      const { at: lastAt, length: lastLength } = parts[parts.length - 1];
      const windows = this.#others ? this.#packed(lastAt + lastLength) : this.#windows[this.#turn];
      this.#turn = this.#turn === 0 ? 1 : 0;
      for (const { array, begin, at, length } of parts) {
        windows[this.rank].set(length === array.length ? array : array.subarray(begin, begin + length), at);
      }
      // A rank writes this window again only after the next barrier, which all pass after they have read it.
      this.#barrier();
      if (this.#others) {
        if (this.rank === this.#own.first) this.#others.exchange(windows, (looks) => this.#rest(looks));
        this.#barrier();
      }
      receive(parts, windows);
    }
  }

  /** Windows of a length, one after another, so that those of a process are one message. */
  #packed(length: number): Float32Array[] {
    const [{ buffer, byteOffset }] = this.#windows[this.#turn];
    return Array.from({ length: this.size }, (_, r) => new Float32Array(buffer, byteOffset + 4 * r * length, length));
  }

  /** Waits a moment for another process, the longer the more often it has looked. @throws RankFailedError */
  #rest(looks: number): void {
    this.#throwIfFailed();
    if (looks > this.#spins / SPINS_PER_LOOK) Atomics.wait(this.#control, FAILED, 0, NAP_MILLISECONDS);
  }

  #barrier(): void {
    const generation = Atomics.load(this.#control, GENERATION);
    this.#throwIfFailed();
    if (Atomics.add(this.#control, ARRIVED, 1) + 1 === this.#own.count) {
      Atomics.store(this.#control, ARRIVED, 0);
      Atomics.add(this.#control, GENERATION, 1);
      Atomics.notify(this.#control, GENERATION);
    } else {
      for (let spin = 0; spin < this.#spins; spin++) {
        if (Atomics.load(this.#control, GENERATION) !== generation) break;
      }
      while (Atomics.load(this.#control, GENERATION) === generation) {
        Atomics.wait(this.#control, GENERATION, generation);
      }
    }
    this.#throwIfFailed();
  }

  #throwIfFailed(): void {
    if (Atomics.load(this.#control, FAILED) !== 0) {
      throw new RankFailedError(
        'Another rank of the process group failed.',
        'Its own error says why; load the model again.',
      );
    }
  }
}

/** Part of an array, and where in a window it goes. */
interface WindowPart {
  readonly array: Float32Array;
  /** Number of the array among those that are exchanged. */
  readonly index: number;
  readonly begin: number;
  readonly length: number;
  readonly at: number;
}

/** The arrays in parts, as many at a time as fit a window. */
function windowsFull(data: readonly Float32Array[]): WindowPart[][] {
  const all: WindowPart[][] = [];
  let parts: WindowPart[] = [];
  let at = 0;
  data.forEach((array, index) => {
    for (let begin = 0; begin < array.length; ) {
      const length = Math.min(WINDOW - at, array.length - begin);
      parts.push({ array, index, begin, length, at });
      begin += length;
      at += length;
      if (at < WINDOW) continue;
      all.push(parts);
      parts = [];
      at = 0;
    }
  });
  if (parts.length > 0) all.push(parts);
  return all;
}

const addInOrder: AddArrays = (arrays, out) => {
  for (let i = 0; i < out.length; i++) {
    let sum = 0;
    for (let r = 0; r < arrays.length; r++) sum += arrays[r][i];
    out[i] = sum;
  }
};

function checkRank(rank: number, size: number): void {
  if (Number.isInteger(rank) && rank >= 0 && rank < size) return;
  throw new ArgumentError(`Rank ${rank} of a group of ${size}.`, `Ranks run from 0 to ${size - 1}.`);
}

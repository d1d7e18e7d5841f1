import { type GroupMemory, type ProcessExchange, type RankRange, SharedMemoryGroup } from '../shared-memory-group.ts';
import { MpiLibrary } from './mpi-library.ts';
import { MpiRequest } from './mpi-request.ts';

/** Tags of exchanges: from the first on, one for each time that the group began anew. Channels of links are below. */
const FIRST_TAG = 1024;
const TAGS = 8192;

/** A process of a job, and the ranks that it has of a group. */
export interface GroupProcess extends RankRange {
  /** Its rank in the MPI job. */
  readonly process: number;
}

/** Processes that share a group, in the order of their ranks, as ranks are told of them. */
export interface MpiPlaces {
  /** Path of the library. */
  readonly library: string;
  readonly processes: readonly GroupProcess[];
}

/**
 * A process group over several processes of an MPI job, each of which has threads: the threads of a process show each other their
 * arrays in shared memory, and one of them exchanges all with the other processes. Every rank sees the arrays of all ranks,
 * and sums them in rank order: the bits are those of as many threads of one process.
 */
export class MpiGroup extends SharedMemoryGroup {
  private constructor(memory: GroupMemory, rank: number, others: MpiExchange) {
    super(memory, rank, others);
  }

  /** On the thread of a rank. The main thread has opened the job. */
  static async open(memory: GroupMemory, rank: number, { library, processes }: MpiPlaces): Promise<MpiGroup> {
    return new MpiGroup(memory, rank, new MpiExchange(await MpiLibrary.load(library), memory.own, processes));
  }
}

class MpiExchange implements ProcessExchange {
  readonly #library: MpiLibrary;
  readonly #own: RankRange;
  readonly #others: readonly GroupProcess[];
  #epoch = 0;
  /** Messages of steps that were given up, whose memory MPI may still read. */
  readonly #unsent: MpiRequest[] = [];
  /** Requests whose memory MPI may still write to. */
  #unreceived: readonly MpiRequest[] = [];

  constructor(library: MpiLibrary, own: RankRange, processes: readonly GroupProcess[]) {
    this.#library = library;
    this.#own = own;
    this.#others = processes.filter(({ first }) => first !== own.first);
  }

  exchange(windows: readonly Float32Array[], rest: (looks: number) => void): void {
    const tag = FIRST_TAG + (this.#epoch % TAGS);
    const received = this.#others.map((other) =>
      MpiRequest.receive(this.#library, bytesOf(windows, other), { peer: other.process, tag }),
    );
    const own = bytesOf(windows, this.#own);
    const sent = this.#others.map(({ process: peer }) => MpiRequest.send(this.#library, own, { peer, tag }));
    let open = [...received, ...sent];
    try {
      for (let looks = 0; ; looks++) {
        open = open.filter((request) => !request.test());
        if (open.length === 0) return;
        rest(looks);
      }
    } catch (error) {
      this.#unreceived = received.filter((request) => open.includes(request));
      this.#unsent.push(...sent.filter((request) => open.includes(request)));
      throw error;
    }
  }

  reset(): void {
    // Otherwise a late message would overwrite those of later exchanges.
    for (const request of this.#unreceived) {
      request.cancel();
      while (!request.test());
    }
    this.#unreceived = [];
    this.#epoch++;
  }
}

function bytesOf(windows: readonly Float32Array[], { first, count }: RankRange): Uint8Array {
  const { buffer, byteOffset, byteLength } = windows[first];
  return new Uint8Array(buffer, byteOffset, count * byteLength);
}

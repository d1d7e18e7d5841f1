import type { ProcessGroup } from '../../../distributed/process-group.ts';
import { RankFailedError, ShardingError } from '../../../errors.ts';
import type { CudaDevice } from '../device/cuda-device.ts';
import type { Handle } from '../device/driver.ts';
import { type Communicator, NcclLibrary } from './nccl-library.ts';
import type { JoinState, NcclPlace } from './nccl-place.ts';

/** Floats on the device. */
export interface DeviceFloats {
  readonly address: Handle;
  readonly count: number;
}

/** Floats that arrays of the host are exchanged in, at a time. */
const STAGED_FLOATS = 2 ** 20;

/** Memory that the host and the device reach. */
interface Staging {
  readonly host: Handle;
  readonly floats: Float32Array;
  /** On the device: own floats, and after them those of all ranks. */
  readonly device: Handle;
}

/**
 * The GPUs that share one model, seen from the rank that has one of them. Exchanges of device memory are enqueued on the
 * stream of the rank's steps, and are captured in their graphs; those of arrays, which a ProcessGroup has, are waited for.
 * A sum of two ranks has the same bits in any case. For more, NCCL decides on the order of a sum by the place of a number
 * in what is exchanged, the same in every run.
 */
export class NcclGroup implements ProcessGroup {
  readonly rank: number;
  readonly size: number;
  readonly gpu: number;
  readonly #library: NcclLibrary;
  readonly #id: Uint8Array;
  readonly #onJoin: (state: JoinState) => void;
  #joined: (Communicator & { readonly device: CudaDevice }) | undefined;
  #staging: Staging | undefined;

  private constructor(library: NcclLibrary, { id, rank, size, gpu }: NcclPlace, onJoin: (state: JoinState) => void) {
    this.rank = rank;
    this.size = size;
    this.gpu = gpu;
    this.#library = library;
    this.#id = id;
    this.#onJoin = onJoin;
  }

  /** @throws MissingPackageError where there is no NCCL, or an old one. */
  static async open(place: NcclPlace, onJoin: (state: JoinState) => void = () => {}): Promise<NcclGroup> {
    return new NcclGroup(await NcclLibrary.load(), place, onJoin);
  }

  /** Joins the others with a GPU, and waits for them: nothing else runs on this thread meanwhile. @throws RankFailedError */
  async join(device: CudaDevice): Promise<void> {
    this.#onJoin('joining');
    // What tells the others so has to leave first.
    await new Promise((resolve) => setImmediate(resolve));
    const comm = this.#named(() => this.#library.join(this.#id, this.rank, this.size));
    this.#joined = { comm, stream: device.stream, device };
    device.whileWaiting = () => this.#checked(() => this.#library.assertHealthy(comm));
    this.#onJoin('joined');
  }

  /** Enqueues, as one exchange, that each part becomes its sum over all ranks. */
  reduce(parts: readonly DeviceFloats[]): void {
    const filled = parts.filter(({ count }) => count > 0);
    if (filled.length === 0) return;
    this.#exchange((own) => {
      this.#library.together(() => {
        for (const { address, count } of filled) this.#library.allReduce(address, count, own);
      });
    });
  }

  /** Enqueues that `to` gets the floats of all ranks, one rank after another. */
  gather({ address, count }: DeviceFloats, to: Handle): void {
    if (count > 0) this.#exchange((own) => this.#library.allGather(address, to, count, own));
  }

  /** Enqueues that the floats become those of rank `source`. */
  spread({ address, count }: DeviceFloats, source: number): void {
    if (count > 0) this.#exchange((own) => this.#library.broadcast(address, count, source, own));
  }

  allReduce(data: readonly Float32Array[]): void {
    this.#stage(data, (own) => this.reduce([own]));
  }

  allGather(data: readonly Float32Array[], out: readonly (readonly Float32Array[])[]): void {
    for (const [i, array] of data.entries()) {
      const received = out.map((arrays) => arrays[i]);
      this.#pieces([array], ([piece], begin) => {
        const { host, floats, device } = this.#staged();
        const count = piece.length;
        const all = device + 4 * STAGED_FLOATS;
        this.#up(piece);
        this.gather({ address: device, count }, all);
        for (const [rank, into] of received.entries()) {
          this.#down(all + 4 * rank * count, host, count);
          into.set(floats.subarray(0, count), begin);
        }
      });
    }
  }

  broadcast(data: Float32Array, source: number): void {
    this.#stage([data], (own) => this.spread(own, source));
  }

  /** Leaves the group: what is under way ends. */
  dispose(): void {
    if (!this.#joined) return;
    const { comm, device } = this.#joined;
    this.#joined = undefined;
    device.whileWaiting = undefined;
    this.#library.abort(comm);
    if (!this.#staging) return;
    device.driver.functions.cuMemFree(this.#staging.device);
    device.driver.functions.cuMemFreeHost(this.#staging.host);
  }

  #exchange(enqueue: (own: Communicator) => void): void {
    const { device } = this.#member();
    if (device.isDry) return;
    device.flush();
    if (device.failure) throw device.failure;
    this.#checked(() => enqueue(this.#member()));
  }

  #member() {
    if (this.#joined) return this.#joined;
    throw new ShardingError(`Rank ${this.rank} is in no group of GPUs.`, 'Join it first.');
  }

  /** A failure is the device's, too: what was enqueued on it may never end. */
  #checked<T>(run: () => T): T {
    try {
      return this.#named(run);
    } catch (error) {
      if (error instanceof Error) this.#joined?.device.fail(error);
      throw error;
    }
  }

  /** Errors of NCCL with the rank's number. */
  #named<T>(run: () => T): T {
    try {
      return run();
    } catch (error) {
      if (!(error instanceof RankFailedError)) throw error;
      throw new RankFailedError(`Rank ${this.rank}: ${error.problem}`, error.hint, { cause: error });
    }
  }

  /** Exchanges arrays of the host in place, by way of the device. */
  #stage(data: readonly Float32Array[], exchange: (own: DeviceFloats) => void): void {
    this.#pieces(data, ([piece]) => {
      const { host, floats, device } = this.#staged();
      this.#up(piece);
      exchange({ address: device, count: piece.length });
      this.#down(device, host, piece.length);
      piece.set(floats.subarray(0, piece.length));
    });
  }

  #pieces(data: readonly Float32Array[], run: (piece: readonly [Float32Array], begin: number) => void): void {
    for (const array of data) {
      for (let begin = 0; begin < array.length; begin += STAGED_FLOATS) {
        run([array.subarray(begin, begin + STAGED_FLOATS)], begin);
      }
    }
  }

  #up(piece: Float32Array): void {
    const { device } = this.#member();
    device.call('cuMemcpyHtoDAsync', this.#staged().device, piece, piece.byteLength, device.stream);
  }

  #down(from: Handle, to: Handle, count: number): void {
    const { device } = this.#member();
    device.call('cuMemcpyDtoHAsync', to, from, 4 * count, device.stream);
    device.call('cuStreamSynchronize', device.stream);
  }

  #staged(): Staging {
    if (this.#staging) return this.#staging;
    const { device } = this.#member();
    const bytes = 4 * STAGED_FLOATS;
    const host = device.made('cuMemHostAlloc', bytes, 0);
    const floats = new Float32Array(device.driver.koffi.view(BigInt(host), bytes));
    this.#staging = { host, floats, device: device.made('cuMemAlloc', bytes * (1 + this.size)) };
    return this.#staging;
  }
}

import type { LibraryHandle } from 'koffi';
import { type Koffi, loadKoffi } from '../../../distributed/load-koffi.ts';
import { MissingPackageError, RankFailedError } from '../../../errors.ts';
import type { Handle } from '../device/driver.ts';
import { ncclCandidates } from './find-nccl.ts';

/** NCCL 2.14, of 2022: the oldest whose interface this was written to. */
const LEAST_VERSION = 21400;
const INSTALL =
  "Install NCCL 2.14 or newer ('apt install libnccl2', or 'pip install nvidia-nccl-cu12'; PyTorch brings it), say by MAMBA2_NCCL_LIBRARY where its libnccl.so.2 is, or use tensorParallelSize 1.";

/** Bytes by which the ranks of a group find each other. */
const ID_BYTES = 128;
const SUCCESS = 0;
/** Numbers of NCCL's types and sums. */
const FLOAT32 = 7;
const SUM = 0;

/** Addresses and handles are integers here, as they are for the driver. */
const DECLARATIONS = {
  ncclGetVersion: 'int ncclGetVersion(void *version)',
  ncclGetUniqueId: 'int ncclGetUniqueId(void *id)',
  ncclCommGetAsyncError: 'int ncclCommGetAsyncError(uint64_t comm, void *code)',
  ncclCommAbort: 'int ncclCommAbort(uint64_t comm)',
  ncclGroupStart: 'int ncclGroupStart()',
  ncclGroupEnd: 'int ncclGroupEnd()',
  ncclAllReduce:
    'int ncclAllReduce(uint64_t from, uint64_t to, size_t count, int type, int sum, uint64_t comm, uint64_t stream)',
  ncclAllGather:
    'int ncclAllGather(uint64_t from, uint64_t to, size_t count, int type, uint64_t comm, uint64_t stream)',
  ncclBroadcast:
    'int ncclBroadcast(uint64_t from, uint64_t to, size_t count, int type, int root, uint64_t comm, uint64_t stream)',
} as const;

/** Arguments of each function. Results are written to the memory that is passed for them. */
interface Arguments {
  readonly ncclGetVersion: [version: Int32Array];
  readonly ncclGetUniqueId: [id: Uint8Array];
  readonly ncclCommGetAsyncError: [comm: Handle, code: Int32Array];
  readonly ncclCommAbort: [comm: Handle];
  readonly ncclGroupStart: [];
  readonly ncclGroupEnd: [];
  readonly ncclAllReduce: [...data: Exchanged, sum: number, comm: Handle, stream: Handle];
  readonly ncclAllGather: [...data: Exchanged, comm: Handle, stream: Handle];
  readonly ncclBroadcast: [...data: Exchanged, root: number, comm: Handle, stream: Handle];
  readonly ncclCommInitRank: [comm: BigUint64Array, ranks: number, id: { readonly internal: Uint8Array }, rank: number];
}
type Exchanged = [from: Handle, to: Handle, count: number, type: number];

/** NCCL's functions, each of which returns a code. */
type NcclFunctions = { readonly [Name in keyof Arguments]: (...args: Arguments[Name]) => number };

/** A rank's communicator, and the stream that its exchanges are enqueued on. */
export interface Communicator {
  readonly comm: Handle;
  readonly stream: Handle;
}

/** NVIDIA's library for exchanges between GPUs, with every code checked. */
export class NcclLibrary {
  readonly #functions: NcclFunctions;
  readonly #describe: (code: number) => string;

  private constructor(functions: NcclFunctions, describe: (code: number) => string) {
    this.#functions = functions;
    this.#describe = describe;
  }

  /**
   * The library of this machine.
   * @param path of it. Default: the environment's MAMBA2_NCCL_LIBRARY, or else the first that is found.
   * @throws MissingPackageError without koffi, where there is no library, or an old one.
   */
  static async load(path = process.env.MAMBA2_NCCL_LIBRARY): Promise<NcclLibrary> {
    const koffi = await loadKoffi('A model on several GPUs');
    const candidates = path ? [path] : ncclCandidates(process.env);
    const problems: string[] = [];
    for (const candidate of candidates) {
      try {
        return open(koffi, candidate, (...parts) => new NcclLibrary(...parts));
      } catch (error) {
        problems.push(error instanceof Error ? error.message : String(error));
      }
    }
    const found = path ? `'${path}' can't be used` : 'none can be used';
    throw new MissingPackageError(`A model on several GPUs needs NCCL, and ${found}: ${problems.join('; ')}.`, INSTALL);
  }

  /** A new id, by which the ranks of one group find each other: the process that makes it must live until they have. */
  uniqueId(): Uint8Array {
    const id = new Uint8Array(ID_BYTES);
    this.#call('ncclGetUniqueId', id);
    return id;
  }

  /** Joins the group of an id, for the GPU whose context is the thread's. Returns when all ranks have joined. */
  join(id: Uint8Array, rank: number, size: number): Handle {
    const comm = new BigUint64Array(1);
    this.#call('ncclCommInitRank', comm, size, { internal: id }, rank);
    return Number(comm[0]);
  }

  /** Enqueues what `run` asks for as one exchange. */
  together(run: () => void): void {
    this.#call('ncclGroupStart');
    try {
      run();
    } finally {
      this.#call('ncclGroupEnd');
    }
  }

  /** Replaces floats at an address by their sums over all ranks. */
  allReduce(address: Handle, count: number, { comm, stream }: Communicator): void {
    this.#call('ncclAllReduce', address, address, count, FLOAT32, SUM, comm, stream);
  }

  /** Writes `count` floats of each rank to `to`, one rank after another. */
  allGather(from: Handle, to: Handle, count: number, { comm, stream }: Communicator): void {
    this.#call('ncclAllGather', from, to, count, FLOAT32, comm, stream);
  }

  broadcast(address: Handle, count: number, root: number, { comm, stream }: Communicator): void {
    this.#call('ncclBroadcast', address, address, count, FLOAT32, root, comm, stream);
  }

  /** @throws RankFailedError where NCCL has found, since the last call, that an exchange can't be finished. */
  assertHealthy(comm: Handle): void {
    const code = new Int32Array(1);
    this.#call('ncclCommGetAsyncError', comm, code);
    this.#check(code[0], 'an exchange');
  }

  /** Ends what is under way, and frees the communicator. */
  abort(comm: Handle): void {
    // The call may fail for a group that has failed, which changes nothing any more.
    this.#functions.ncclCommAbort(comm);
  }

  #call<Name extends keyof NcclFunctions>(name: Name, ...args: Arguments[Name]): void {
    this.#check((this.#functions[name] as (...args: unknown[]) => number)(...args), name);
  }

  #check(code: number, what: string): void {
    if (code === SUCCESS) return;
    throw new RankFailedError(
      `NCCL reports for ${what}: ${this.#describe(code)}.`,
      'NCCL_DEBUG=WARN has it say more; then load the model again.',
    );
  }
}

/** @throws Error which says what is wrong with the library. */
function open(
  koffi: Koffi,
  path: string,
  make: (functions: NcclFunctions, describe: (code: number) => string) => NcclLibrary,
): NcclLibrary {
  const library = koffi.load(path);
  const version = new Int32Array(1);
  library.func(DECLARATIONS.ncclGetVersion)(version);
  if (version[0] < LEAST_VERSION) throw new Error(`'${path}' is NCCL ${versionText(version[0])}, which is too old`);
  return make(bindFunctions(koffi, library), describeBy(library));
}

function bindFunctions(koffi: Koffi, library: LibraryHandle): NcclFunctions {
  const entries = Object.entries(DECLARATIONS).map(([name, declaration]) => [name, library.func(declaration)]);
  // The id is passed by value.
  const id = koffi.struct({ internal: koffi.array('uint8_t', ID_BYTES) });
  const join = library.func('ncclCommInitRank', 'int', ['void *', 'int', id, 'int']);
  return { ...Object.fromEntries(entries), ncclCommInitRank: join };
}

/** What NCCL says of a code, and last of all. */
function describeBy(library: LibraryHandle): (code: number) => string {
  const text = library.func('const char *ncclGetErrorString(int code)');
  const last = library.func('const char *ncclGetLastError(uint64_t comm)');
  return (code) => [text(code), last(0)].filter((part) => typeof part === 'string' && part !== '').join(': ');
}

/** NCCL counts 2.8.3 as 2803, and later versions as 21403. */
function versionText(version: number): string {
  const base = version < 10_000 ? 1000 : 10_000;
  return `${Math.floor(version / base)}.${Math.floor((version % base) / 100)}`;
}

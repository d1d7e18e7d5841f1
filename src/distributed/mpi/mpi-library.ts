import { MpiError } from '../../errors.ts';
import { type Koffi, loadKoffi } from '../load-koffi.ts';
import type { Launcher } from './launcher.ts';
import { ABIS, type AbiName, abiOf, type Handle, type MpiAbi } from './mpi-abi.ts';

/** Functions of MPI by their names without the prefix. Each returns an error code, 0 for success. */
export interface MpiFunctions {
  Init_thread(argc: null, argv: null, required: number, provided: Int32Array): number;
  Initialized(flag: Int32Array): number;
  Finalize(): number;
  Ibarrier(comm: Handle, request: Buffer): number;
  Comm_rank(comm: Handle, rank: Int32Array): number;
  Comm_size(comm: Handle, size: Int32Array): number;
  Comm_set_errhandler(comm: Handle, handler: Handle): number;
  Isend(buf: ArrayBufferView, count: number, type: Handle, to: number, tag: number, comm: Handle, req: Buffer): number;
  Irecv(buf: ArrayBufferView, count: number, type: Handle, of: number, tag: number, comm: Handle, req: Buffer): number;
  Test(request: Buffer, flag: Int32Array, status: Buffer): number;
  Cancel(request: Buffer): number;
  Get_count(status: Buffer, type: Handle, count: Int32Array): number;
  Error_string(code: number, text: Buffer, length: Int32Array): number;
  Get_processor_name(name: Buffer, length: Int32Array): number;
  Get_library_version(version: Buffer, length: Int32Array): number;
}

/** Types of the functions' parameters. Handles are passed by value, whatever they are. */
const SIGNATURES: Readonly<Record<keyof MpiFunctions, readonly string[]>> = {
  Init_thread: ['void *', 'void *', 'int', 'int *'],
  Initialized: ['int *'],
  Finalize: [],
  Ibarrier: ['intptr', 'uint8 *'],
  Comm_rank: ['intptr', 'int *'],
  Comm_size: ['intptr', 'int *'],
  Comm_set_errhandler: ['intptr', 'intptr'],
  Isend: ['void *', 'int', 'intptr', 'int', 'int', 'intptr', 'uint8 *'],
  Irecv: ['void *', 'int', 'intptr', 'int', 'int', 'intptr', 'uint8 *'],
  Test: ['uint8 *', 'int *', 'uint8 *'],
  Cancel: ['uint8 *'],
  Get_count: ['uint8 *', 'intptr', 'int *'],
  Error_string: ['int', 'uint8 *', 'int *'],
  Get_processor_name: ['uint8 *', 'int *'],
  Get_library_version: ['uint8 *', 'int *'],
};

/** Longest text that any of the implementations writes. */
const TEXT_BYTES = 8192;

/** Usual names, by interface. The loader looks for them where it looks for all libraries. */
const LINUX_NAMES: readonly (readonly [AbiName | undefined, string])[] = [
  ['standard', 'libmpi_abi.so.0'],
  ['openmpi', 'libmpi.so.40'],
  ['mpich', 'libmpich.so.12'],
  ['mpich', 'libmpi.so.12'],
  [undefined, 'libmpi.so'],
];
const MAC_NAMES: readonly (readonly [AbiName | undefined, string])[] = [
  ['standard', 'libmpi_abi.0.dylib'],
  ['openmpi', 'libmpi.40.dylib'],
  ['mpich', 'libmpi.12.dylib'],
  [undefined, 'libmpi.dylib'],
];
/** Folders of Homebrew, where the loader does not look. */
const MAC_FOLDERS = ['', '/opt/homebrew/lib/', '/usr/local/lib/'];

/** An MPI library that was loaded, with every call checked. */
export class MpiLibrary {
  /** Name or path by which it was loaded. Other threads load it by the same. */
  readonly path: string;
  /** First line of what it says about itself. */
  readonly version: string;
  readonly abi: MpiAbi;
  readonly abiName: AbiName;
  readonly #functions: MpiFunctions;

  private constructor(path: string, functions: MpiFunctions, addressOf: (symbol: string) => Handle) {
    this.path = path;
    this.#functions = functions;
    this.version = this.text('Get_library_version').split('\n')[0];
    const abiName = abiOf(path, this.version);
    if (!abiName) {
      const expected = "Open MPI, MPICH and those with its interface, and 'libmpi_abi' of MPI 5 are supported.";
      throw new MpiError(`'${path}' is an MPI library of an unknown kind: ${this.version}.`, expected);
    }
    this.abiName = abiName;
    this.abi = ABIS[abiName](addressOf);
  }

  /**
   * Finds and loads a library.
   * @param given path or name of it. Default: MAMBA2_MPI_LIBRARY, or else the first of the usual names that is there,
   * those of the launcher first.
   * @throws MissingPackageError without koffi; MpiError where there is no library, or none that is supported.
   */
  static async load(given = process.env.MAMBA2_MPI_LIBRARY, launcher?: Launcher): Promise<MpiLibrary> {
    const koffi = await loadKoffi('MPI');
    const names = given ? [given] : usualNames(process.platform, launcher?.abi);
    const problems: string[] = [];
    for (const name of names) {
      try {
        // Plugins of Open MPI look for its symbols among the global ones.
        const library = koffi.load(name, { global: true, lazy: true });
        return new MpiLibrary(name, bind(library), (symbol) => koffi.address(library.symbol(symbol)));
      } catch (error) {
        if (error instanceof MpiError) throw error;
        problems.push(error instanceof Error ? error.message : String(error));
      }
    }
    throw new MpiError(
      given
        ? `The MPI library can't be loaded: ${problems.join('; ')}.`
        : `There is no MPI library: ${names.join(', ')}.`,
      'Install Open MPI or MPICH, or say by MAMBA2_MPI_LIBRARY where the library is.',
    );
  }

  /** Calls a function. @throws MpiError with the library's own words where it fails. */
  call<Name extends keyof MpiFunctions>(name: Name, ...args: Parameters<MpiFunctions[Name]>): void {
    const run = this.#functions[name] as (...args: Parameters<MpiFunctions[Name]>) => number;
    const code = run(...args);
    if (code !== 0) throw new MpiError(`MPI_${name} failed: ${this.#errorText(code)} (code ${code}).`);
  }

  /** The text that a function writes. */
  text(name: 'Get_library_version' | 'Get_processor_name'): string {
    return readText((bytes, length) => this.call(name, bytes, length));
  }

  #errorText(code: number): string {
    return readText((bytes, length) => this.#functions.Error_string(code, bytes, length));
  }
}

function bind(library: ReturnType<Koffi['load']>): MpiFunctions {
  const entries = Object.entries(SIGNATURES).map(([name, types]) => [
    name,
    library.func(`MPI_${name}`, 'int', [...types]),
  ]);
  return Object.fromEntries(entries);
}

function readText(write: (bytes: Buffer, length: Int32Array) => void): string {
  const bytes = Buffer.alloc(TEXT_BYTES);
  const length = new Int32Array(1);
  write(bytes, length);
  // Some count the byte that ends the text.
  return bytes.toString('utf8', 0, length[0]).split('\0')[0].trim();
}

function usualNames(platform: NodeJS.Platform, preferred: AbiName | undefined): string[] {
  const names = platform === 'darwin' ? MAC_NAMES : LINUX_NAMES;
  const folders = platform === 'darwin' ? MAC_FOLDERS : [''];
  const sorted = names.toSorted(([a], [b]) => Number(b === preferred) - Number(a === preferred));
  return sorted.flatMap(([, name]) => folders.map((folder) => folder + name));
}

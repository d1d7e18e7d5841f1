import type { LibraryHandle } from 'koffi';
import { type Koffi, loadKoffi } from '../../../distributed/load-koffi.ts';
import { DeviceLostError, GpuError, OutOfDeviceMemoryError, UnsupportedDeviceError } from '../../../errors.ts';

/** Where the driver is, by platform. */
const LIBRARIES: Readonly<Partial<Record<string, string>>> = { linux: 'libcuda.so.1', win32: 'nvcuda.dll' };
/** Without one in particular: the libraries of WSL and of containers, which may not be on the loader's path. */
const OTHER_PLACES = ['/usr/lib/wsl/lib/libcuda.so.1', '/usr/local/nvidia/lib64/libcuda.so.1'];

/** CUDA 11.4: the oldest driver that takes the kernels' PTX and has all functions. */
const LEAST_VERSION = 11040;

/** An address on the device, or a handle of the driver's. All are below 2^53. */
export type Handle = number;
/** Host memory that a call reads or writes. */
type HostMemory = ArrayBufferView | Handle;

/** Declarations of the driver's functions, each of which returns a code. Handles and addresses are integers here. */
const DECLARATIONS = {
  cuInit: 'int cuInit(uint32_t flags)',
  cuDriverGetVersion: 'int cuDriverGetVersion(void *version)',
  cuDeviceGetCount: 'int cuDeviceGetCount(void *count)',
  cuDeviceGet: 'int cuDeviceGet(void *device, int ordinal)',
  cuDeviceGetName: 'int cuDeviceGetName(void *name, int length, int device)',
  cuDeviceGetAttribute: 'int cuDeviceGetAttribute(void *value, int attribute, int device)',
  cuDeviceTotalMem: 'int cuDeviceTotalMem_v2(void *bytes, int device)',
  cuDevicePrimaryCtxRetain: 'int cuDevicePrimaryCtxRetain(void *context, int device)',
  cuDevicePrimaryCtxRelease: 'int cuDevicePrimaryCtxRelease_v2(int device)',
  cuCtxSetCurrent: 'int cuCtxSetCurrent(uint64_t context)',
  cuMemGetInfo: 'int cuMemGetInfo_v2(void *free, void *total)',
  cuMemAlloc: 'int cuMemAlloc_v2(void *address, size_t bytes)',
  cuMemFree: 'int cuMemFree_v2(uint64_t address)',
  cuMemHostAlloc: 'int cuMemHostAlloc(void *memory, size_t bytes, uint32_t flags)',
  cuMemFreeHost: 'int cuMemFreeHost(uint64_t memory)',
  cuMemcpyHtoDAsync: 'int cuMemcpyHtoDAsync_v2(uint64_t to, void *from, size_t bytes, uint64_t stream)',
  cuMemcpyDtoHAsync: 'int cuMemcpyDtoHAsync_v2(uint64_t to, uint64_t from, size_t bytes, uint64_t stream)',
  cuMemcpyDtoDAsync: 'int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, uint64_t stream)',
  cuMemsetD8Async: 'int cuMemsetD8Async(uint64_t to, uint8_t value, size_t bytes, uint64_t stream)',
  cuModuleLoadData: 'int cuModuleLoadData(void *module, void *image)',
  cuModuleUnload: 'int cuModuleUnload(uint64_t module)',
  cuModuleGetFunction: 'int cuModuleGetFunction(void *kernel, uint64_t module, str name)',
  cuFuncSetAttribute: 'int cuFuncSetAttribute(uint64_t kernel, int attribute, int value)',
  cuLaunchKernel:
    'int cuLaunchKernel(uint64_t kernel, uint32_t gridX, uint32_t gridY, uint32_t gridZ, uint32_t blockX, uint32_t blockY, uint32_t blockZ, uint32_t sharedBytes, uint64_t stream, uint64_t parameters, uint64_t extra)',
  cuStreamCreate: 'int cuStreamCreate(void *stream, uint32_t flags)',
  cuStreamDestroy: 'int cuStreamDestroy_v2(uint64_t stream)',
  cuStreamSynchronize: 'int cuStreamSynchronize(uint64_t stream)',
  cuStreamBeginCapture: 'int cuStreamBeginCapture_v2(uint64_t stream, int mode)',
  cuStreamEndCapture: 'int cuStreamEndCapture(uint64_t stream, void *graph)',
  cuGraphInstantiate: 'int cuGraphInstantiateWithFlags(void *executable, uint64_t graph, uint64_t flags)',
  cuGraphLaunch: 'int cuGraphLaunch(uint64_t executable, uint64_t stream)',
  cuGraphDestroy: 'int cuGraphDestroy(uint64_t graph)',
  cuGraphExecDestroy: 'int cuGraphExecDestroy(uint64_t executable)',
  cuEventCreate: 'int cuEventCreate(void *event, uint32_t flags)',
  cuEventDestroy: 'int cuEventDestroy_v2(uint64_t event)',
  cuEventRecord: 'int cuEventRecord(uint64_t event, uint64_t stream)',
  cuEventQuery: 'int cuEventQuery(uint64_t event)',
  cuEventElapsedTime: 'int cuEventElapsedTime(void *milliseconds, uint64_t start, uint64_t end)',
} as const;

/** Functions that only newer drivers have. */
const LATER = {
  cuLaunchKernelEx: {
    since: 11_080,
    declaration: 'int cuLaunchKernelEx(uint64_t config, uint64_t kernel, uint64_t parameters, uint64_t extra)',
  },
  // Older drivers have it, too, but only launches with attributes need it.
  cuOccupancyMaxActiveBlocksPerMultiprocessor: {
    since: 11_080,
    declaration:
      'int cuOccupancyMaxActiveBlocksPerMultiprocessor(void *count, uint64_t kernel, int threads, size_t sharedBytes)',
  },
} as const;

/** Arguments of each function. Results are written to the memory that is passed for them. */
interface Arguments {
  readonly cuInit: [flags: number];
  readonly cuDriverGetVersion: [version: HostMemory];
  readonly cuDeviceGetCount: [count: HostMemory];
  readonly cuDeviceGet: [device: HostMemory, ordinal: number];
  readonly cuDeviceGetName: [name: HostMemory, length: number, device: number];
  readonly cuDeviceGetAttribute: [value: HostMemory, attribute: number, device: number];
  readonly cuDeviceTotalMem: [bytes: HostMemory, device: number];
  readonly cuDevicePrimaryCtxRetain: [context: HostMemory, device: number];
  readonly cuDevicePrimaryCtxRelease: [device: number];
  readonly cuCtxSetCurrent: [context: Handle];
  readonly cuMemGetInfo: [free: HostMemory, total: HostMemory];
  readonly cuMemAlloc: [address: HostMemory, bytes: number];
  readonly cuMemFree: [address: Handle];
  readonly cuMemHostAlloc: [memory: HostMemory, bytes: number, flags: number];
  readonly cuMemFreeHost: [memory: Handle];
  readonly cuMemcpyHtoDAsync: [to: Handle, from: HostMemory, bytes: number, stream: Handle];
  readonly cuMemcpyDtoHAsync: [to: Handle, from: Handle, bytes: number, stream: Handle];
  readonly cuMemcpyDtoDAsync: [to: Handle, from: Handle, bytes: number, stream: Handle];
  readonly cuMemsetD8Async: [to: Handle, value: number, bytes: number, stream: Handle];
  readonly cuModuleLoadData: [module: HostMemory, image: HostMemory];
  readonly cuModuleUnload: [module: Handle];
  readonly cuModuleGetFunction: [kernel: HostMemory, module: Handle, name: string];
  readonly cuOccupancyMaxActiveBlocksPerMultiprocessor: [
    count: HostMemory,
    kernel: Handle,
    threads: number,
    sharedBytes: number,
  ];
  readonly cuFuncSetAttribute: [kernel: Handle, attribute: number, value: number];
  readonly cuLaunchKernel: [
    kernel: Handle,
    ...grid: [number, number, number],
    ...block: [number, number, number],
    sharedBytes: number,
    stream: Handle,
    parameters: Handle,
    extra: Handle,
  ];
  readonly cuStreamCreate: [stream: HostMemory, flags: number];
  readonly cuStreamDestroy: [stream: Handle];
  readonly cuStreamSynchronize: [stream: Handle];
  readonly cuStreamBeginCapture: [stream: Handle, mode: number];
  readonly cuStreamEndCapture: [stream: Handle, graph: HostMemory];
  readonly cuGraphInstantiate: [executable: HostMemory, graph: Handle, flags: number];
  readonly cuGraphLaunch: [executable: Handle, stream: Handle];
  readonly cuGraphDestroy: [graph: Handle];
  readonly cuGraphExecDestroy: [executable: Handle];
  readonly cuEventCreate: [event: HostMemory, flags: number];
  readonly cuEventDestroy: [event: Handle];
  readonly cuEventRecord: [event: Handle, stream: Handle];
  readonly cuEventQuery: [event: Handle];
  readonly cuEventElapsedTime: [milliseconds: HostMemory, start: Handle, end: Handle];
  readonly cuLaunchKernelEx: [config: Handle, kernel: Handle, parameters: Handle, extra: Handle];
}

type FunctionName = keyof typeof DECLARATIONS | keyof typeof LATER;
/** The driver's functions, each of which returns a code: those that an old driver lacks that of CUDA_ERROR_NOT_FOUND. */
export type DriverFunctions = { readonly [Name in FunctionName]: (...args: Arguments[Name]) => number };

/** Codes that are told apart. */
const SUCCESS = 0;
const OUT_OF_MEMORY = 2;
const NO_DEVICE = 100;
const NOT_FOUND = 500;
const NOT_READY = 600;
/** Codes after which the context can't be used any more: cuda.h says so of each. */
const LOST: ReadonlySet<number> = new Set([
  46, 201, 214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 999,
]);

/** Functions that return the name and the text of a code. They take a place for a pointer to it. */
type Describe = (code: number) => string | undefined;

/** NVIDIA's driver: its functions, with every code checked. */
export class CudaDriver {
  readonly functions: DriverFunctions;
  readonly koffi: Koffi;
  /** 12030 is CUDA 12.3. */
  readonly version: number;
  readonly #describe: Describe;

  constructor(koffi: Koffi, version: number, functions: DriverFunctions, describe: Describe) {
    this.koffi = koffi;
    this.version = version;
    this.functions = functions;
    this.#describe = describe;
  }

  /**
   * The driver of this machine.
   * @param path of the driver's library. Default: the environment's MAMBA2_CUDA_LIBRARY, or else the system's.
   * @throws MissingPackageError without koffi; UnsupportedDeviceError where there is no driver, no GPU, or an old driver.
   */
  static async load(path?: string): Promise<CudaDriver> {
    if (globalThis.process?.versions?.node === undefined) {
      throw new UnsupportedDeviceError("The device 'cuda' is for Node.", "Use the device 'webgpu' or 'cpu'.");
    }
    path ??= process.env.MAMBA2_CUDA_LIBRARY;
    const koffi = await loadKoffi("The device 'cuda'");
    const library = openLibrary(koffi, path);
    const version = versionOf(library);
    const functions = bindFunctions(library, version);
    const driver = new CudaDriver(koffi, version, functions, describeBy(library));
    if (version < LEAST_VERSION) {
      throw new UnsupportedDeviceError(
        `The NVIDIA driver is one of CUDA ${versionText(version)}.`,
        `The device 'cuda' takes one of CUDA ${versionText(LEAST_VERSION)} or newer (470 on Linux): update the driver.`,
      );
    }
    const code = functions.cuInit(0);
    if (code === NO_DEVICE) throw noDevice();
    driver.check(code, 'cuInit');
    if (driver.deviceCount === 0) throw noDevice();
    return driver;
  }

  /** Number of GPUs that it sees. */
  get deviceCount(): number {
    return this.int((out) => this.functions.cuDeviceGetCount(out), 'cuDeviceGetCount');
  }

  /** @throws OutOfDeviceMemoryError, DeviceLostError, GpuError unless the code means success. */
  check(code: number, name: string): void {
    if (code === SUCCESS) return;
    const what = `${name}: ${this.#describe(code) ?? `code ${code}`}`;
    if (code === OUT_OF_MEMORY) {
      throw new OutOfDeviceMemoryError(`The GPU has no memory left (${what}).`, 'Use fewer slots or a smaller dtype.');
    }
    if (LOST.has(code)) throw new DeviceLostError(`The GPU was lost (${what}).`, 'Load the model again.');
    throw new GpuError(`The NVIDIA driver refused a call (${what}).`);
  }

  /** Whether an event has come. @throws DeviceLostError, GpuError */
  isDone(event: Handle): boolean {
    const code = this.functions.cuEventQuery(event);
    if (code === NOT_READY) return false;
    this.check(code, 'cuEventQuery');
    return true;
  }

  /** The int32 that a call writes. */
  int(call: (out: Int32Array) => number, name: string): number {
    const out = new Int32Array(1);
    this.check(call(out), name);
    return out[0];
  }

  /** The handle or address that a call writes. */
  handle(call: (out: BigUint64Array) => number, name: string): Handle {
    const out = new BigUint64Array(1);
    this.check(call(out), name);
    return Number(out[0]);
  }
}

function openLibrary(koffi: Koffi, path: string | undefined): LibraryHandle {
  const name = path ?? LIBRARIES[process.platform];
  if (name === undefined) {
    throw new UnsupportedDeviceError(
      `There is no NVIDIA driver for ${process.platform}.`,
      "Use the device 'webgpu' or 'cpu'.",
    );
  }
  let failure: unknown;
  for (const place of path === undefined && process.platform === 'linux' ? [name, ...OTHER_PLACES] : [name]) {
    try {
      return koffi.load(place);
    } catch (error) {
      failure ??= error;
    }
  }
  throw new UnsupportedDeviceError(
    `The NVIDIA driver (${name}) can't be loaded: ${failure instanceof Error ? failure.message : failure}`,
    "Install it, or use the device 'webgpu' or 'cpu'.",
    { cause: failure },
  );
}

/** @throws UnsupportedDeviceError when a function is missing, which only old drivers lack. */
function bindFunctions(library: LibraryHandle, version: number): DriverFunctions {
  try {
    const bound = Object.entries(DECLARATIONS).map(([name, declaration]) => [name, library.func(declaration)]);
    const later = Object.entries(LATER).map(([name, { since, declaration }]) => {
      return [name, version < since ? () => NOT_FOUND : library.func(declaration)];
    });
    return Object.fromEntries([...bound, ...later]) as unknown as DriverFunctions;
  } catch (cause) {
    throw new UnsupportedDeviceError(
      `The NVIDIA driver lacks a function: ${cause instanceof Error ? cause.message : cause}`,
      `The device 'cuda' takes a driver of CUDA ${versionText(LEAST_VERSION)} or newer: update it.`,
      { cause },
    );
  }
}

/** The driver's version; 0 if it does not say. */
function versionOf(library: LibraryHandle): number {
  const out = new Int32Array(1);
  return library.func(DECLARATIONS.cuDriverGetVersion)(out) === SUCCESS ? out[0] : 0;
}

function describeBy(library: LibraryHandle): Describe {
  const [name, text] = ['cuGetErrorName', 'cuGetErrorString'].map((each) => {
    return library.func(`int ${each}(int code, _Out_ const char **text)`);
  });
  return (code) => {
    const [known, explained] = [name, text].map((describe) => {
      const out: [string | null] = [null];
      return describe(code, out) === SUCCESS ? out[0] : undefined;
    });
    return known ? `${known}, ${explained}` : undefined;
  };
}

function noDevice(): UnsupportedDeviceError {
  return new UnsupportedDeviceError(
    'The NVIDIA driver finds no GPU.',
    "CUDA_VISIBLE_DEVICES may hide it. Use the device 'webgpu' or 'cpu' otherwise.",
  );
}

function versionText(version: number): string {
  return `${Math.floor(version / 1000)}.${Math.floor((version % 1000) / 10)}`;
}

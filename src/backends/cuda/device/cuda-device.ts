import { DisposedError } from '../../../errors.ts';
import { KERNELS, type KernelName, type KernelParameters } from '../kernels/kernels.generated.ts';
import { loadPtx } from '../kernels/load-ptx.ts';
import { writeParameters } from '../kernels/parameters.ts';
import { fuseFirst, LONGEST_FUSION } from '../launch/fuse.ts';
import type { Grid, Launch } from '../launch/launch.ts';
import { LayerRuns, type OneLaunch } from '../launch/layer-runs.ts';
import { canOverlap, Overlaps, withWaits } from '../launch/overlap.ts';
import { Unwritten } from '../launch/unwritten.ts';
import { type CudaInfo, hasCooperativeLaunches, infoOf } from './cuda-info.ts';
import { CudaDriver, type DriverFunctions, type Handle } from './driver.ts';
import { LaunchConfig } from './launch-config.ts';

/** A stream that does not wait for the one that other libraries in the process share. */
const NON_BLOCKING = 1;
/** Capture that lets other calls be, such as those that load a module. */
const RELAXED = 2;
const NO_TIMING = 2;
const MOST_PARAMETER_BYTES = 4096;
/** The attribute of a kernel that says how many bytes of shared memory a launch may ask for. */
const MOST_SHARED_BYTES = 8;

export interface CudaDeviceOptions {
  /** Path of the driver's library. Default: see CudaDriver.load. */
  readonly library?: string | undefined;
  /** Number of the GPU among those that the driver sees, of which the first follows the last. Default: 0. */
  readonly ordinal?: number | undefined;
}

/** A GPU with its context, one stream and the kernels. */
export class CudaDevice {
  readonly info: CudaInfo;
  /** Resolves when the device can't be used any more, unless it was given back. */
  readonly failed: Promise<Error>;
  readonly stream: Handle;
  readonly driver: CudaDriver;
  /** Whether nothing runs: kernels are only compiled. */
  isDry = false;
  /** Called again and again while the device is waited for. What it throws ends the wait. */
  whileWaiting: (() => void) | undefined;
  readonly #ordinal: number;
  readonly #ptx: ReadonlyMap<string, Uint8Array>;
  readonly #modules = new Map<string, Handle>();
  readonly #kernels = new Map<KernelName, Handle>();
  /** Bytes of shared memory that launches of a kernel may ask for, besides what it declares. */
  readonly #sharedBytes = new Map<KernelName, number>();
  readonly #parameters: DataView;
  /** Address of the list that a launch takes, which has the address of the parameters: every kernel has one struct of them. */
  readonly #parameterList: Handle;
  readonly #events: Handle[] = [];
  /** Launches that wait for those after them, which they may take over. */
  readonly #waiting: Launch[] = [];
  /** What launches have left out of what they make. */
  readonly #unwritten = new Unwritten();
  /** Scopes that what is launched lies in. */
  #scopes = 0;
  /** Describes launches that may begin before the kernel before has ended, where GPU and driver know such. */
  readonly #overlapping: LaunchConfig | undefined;
  readonly #overlaps = new Overlaps();
  /** Makes one launch of layers, where GPU and driver take launches all of whose blocks run at a time. */
  readonly #layerRuns: LayerRuns | undefined;
  /** Describes such launches. */
  readonly #cooperative: LaunchConfig | undefined;
  /** Whether layers of what is captured may become one launch. */
  #joinsLayers = false;
  /** What {@link #keep} holds, by its values. */
  readonly #kept = new Map<string, Handle>();
  readonly #shared: { readonly address: Handle; readonly bytes: number }[] = [];
  #isCapturing = false;
  #onFailure: (error: Error) => void = () => {};
  #failure: Error | undefined;

  constructor(driver: CudaDriver, ptx: ReadonlyMap<string, Uint8Array>, ordinal: number, oneLaunch: OneLaunch) {
    this.driver = driver;
    this.#ptx = ptx;
    const { functions, koffi } = driver;
    this.#ordinal = driver.int((out) => functions.cuDeviceGet(out, ordinal), 'cuDeviceGet');
    this.info = infoOf(driver, ordinal);
    const context = driver.handle(
      (out) => functions.cuDevicePrimaryCtxRetain(out, this.#ordinal),
      'cuDevicePrimaryCtxRetain',
    );
    driver.check(functions.cuCtxSetCurrent(context), 'cuCtxSetCurrent');
    this.stream = driver.handle((out) => functions.cuStreamCreate(out, NON_BLOCKING), 'cuStreamCreate');
    this.failed = new Promise((resolve) => {
      this.#onFailure = resolve;
    });
    const memory = (bytes: number) => {
      const pointer = koffi.alloc('uint8_t', bytes);
      return { address: koffi.address(pointer), view: koffi.view(pointer, bytes) };
    };
    const parameters = memory(MOST_PARAMETER_BYTES);
    const list = memory(8);
    this.#parameters = new DataView(parameters.view);
    new BigUint64Array(list.view).set([parameters.address]);
    this.#parameterList = Number(list.address);
    const { capability, multiprocessors, sharedBytes } = this.info;
    if (canOverlap(capability, driver.version)) this.#overlapping = new LaunchConfig(koffi, this.stream, 'overlapping');
    if (oneLaunch !== 'never' && hasCooperativeLaunches(driver, ordinal, this.info)) {
      this.#cooperative = new LaunchConfig(koffi, this.stream, 'cooperative');
      this.#layerRuns = new LayerRuns({
        ...{ multiprocessors, sharedBytes, when: oneLaunch },
        isDry: () => this.isDry,
        holds: ({ name, grid }) => this.#holds(name, grid),
        keep: (values) => this.#keep(values),
        share: (bytes) => this.#share(bytes),
      });
    }
  }

  /**
   * A GPU of this machine. Layers may become one launch where that is faster; with 1 as the environment's MAMBA2_CUDA_ONE_LAUNCH
   * wherever they can, with 0 nowhere: see docs/cuda.md.
   * @throws MissingPackageError, UnsupportedDeviceError
   */
  static async open({ library, ordinal = 0 }: CudaDeviceOptions = {}): Promise<CudaDevice> {
    const asked = globalThis.process?.env.MAMBA2_CUDA_ONE_LAUNCH;
    const oneLaunch = asked === '1' ? 'always' : asked === '0' ? 'never' : 'fast';
    const [driver, ptx] = await Promise.all([CudaDriver.load(library), loadPtx()]);
    const own = ordinal % driver.deviceCount;
    infoOf(driver, own);
    return new CudaDevice(driver, ptx, own, oneLaunch);
  }

  /** Why the device can't be used any more. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Calls a function of the driver. @throws OutOfDeviceMemoryError, DeviceLostError, GpuError, DisposedError */
  call<Name extends keyof DriverFunctions>(name: Name, ...args: Parameters<DriverFunctions[Name]>): void {
    this.flush();
    this.#call(name, ...args);
  }

  #call<Name extends keyof DriverFunctions>(name: Name, ...args: Parameters<DriverFunctions[Name]>): void {
    if (this.#failure) throw this.#failure;
    const code = (this.driver.functions[name] as (...args: unknown[]) => number)(...args);
    if (code !== 0) this.#checked(() => this.driver.check(code, name));
  }

  /** A handle that a function of the driver writes to its first argument. */
  made<Name extends keyof DriverFunctions>(
    name: Name,
    ...args: Parameters<DriverFunctions[Name]> extends [unknown, ...infer Rest] ? Rest : never
  ): Handle {
    this.flush();
    return this.#made(name, ...args);
  }

  #made<Name extends keyof DriverFunctions>(
    name: Name,
    ...args: Parameters<DriverFunctions[Name]> extends [unknown, ...infer Rest] ? Rest : never
  ): Handle {
    const out = new BigUint64Array(1);
    this.#call(name, ...([out, ...args] as unknown as Parameters<DriverFunctions[Name]>));
    return Number(out[0]);
  }

  /** Enqueues a kernel. A grid without blocks does nothing. */
  launch<Name extends KernelName>(name: Name, grid: Grid, parameters: KernelParameters[Name]): void {
    if (this.#failure) throw this.#failure;
    if (grid.blocks.includes(0)) return;
    this.#waiting.push({ name, grid, parameters } as Launch);
    while (this.#waiting.length >= LONGEST_FUSION) this.#launchFirst();
  }

  /** Enqueues what waits for later launches. What comes after may use the memory that its operands lie in. */
  flush(): void {
    if (this.#failure) {
      this.#waiting.length = 0;
      this.#layerRuns?.begin();
    }
    while (this.#waiting.length > 0) this.#launchFirst();
    if (this.#layerRuns) for (const due of this.#layerRuns.end()) this.#enqueue(due);
    this.#overlaps.end();
  }

  /** Tells that a scope has begun or ended, with nothing waiting: in how many scopes what comes next lies. */
  set scopes(count: number) {
    this.#scopes = count;
    if (count === 0) this.#unwritten.clear();
  }

  /** Tells that a part of a scope has ended, and the address of its result. */
  endPart(result: Handle | undefined): void {
    this.#unwritten.endPart(result);
  }

  /** Has what lies at an address written, if launches have left it out so far, and enqueues what waits. */
  complete(address: Handle): void {
    this.flush();
    for (const due of this.#unwritten.read(address)) this.#enqueue(due);
  }

  /**
   * The commands that `run` enqueues, which are not run, as one that can be enqueued again and again.
   * @param run may be called twice where layers become one launch.
   * @param results the addresses that are read after what `run` enqueued.
   */
  capture(run: () => void, results: () => readonly Handle[]): Handle {
    const runs = this.#layerRuns;
    if (!runs) return this.#executable(this.#capture(run));
    runs.begin();
    this.#joinsLayers = true;
    let graph: Handle;
    try {
      graph = this.#capture(run);
    } finally {
      this.#joinsLayers = false;
    }
    for (const address of results()) runs.read(address);
    if (!runs.isMissed) return this.#executable(graph);
    // Something reads what the one launch does not write.
    this.call('cuGraphDestroy', graph);
    return this.#executable(this.#capture(run));
  }

  /** What `run` enqueues, as a graph. */
  #capture(run: () => void): Handle {
    this.call('cuStreamBeginCapture', this.stream, RELAXED);
    let failure: unknown;
    this.#isCapturing = true;
    try {
      run();
    } catch (error) {
      failure = error;
    }
    this.flush();
    this.#isCapturing = false;
    const graph = new BigUint64Array(1);
    this.call('cuStreamEndCapture', this.stream, graph);
    if (failure !== undefined) throw failure;
    return Number(graph[0]);
  }

  #executable(graph: Handle): Handle {
    const executable = this.made('cuGraphInstantiate', graph, 0);
    this.call('cuGraphDestroy', graph);
    return executable;
  }

  /**
   * Resolves once everything that was enqueued before has run. Short waits let only what is due run meanwhile; longer ones
   * leave the processor alone.
   */
  async finished(): Promise<void> {
    const event = this.#events.pop() ?? this.made('cuEventCreate', NO_TIMING);
    this.call('cuEventRecord', event, this.stream);
    const begin = performance.now();
    while (!this.#checked(() => this.driver.isDone(event))) {
      await (performance.now() - begin < PATIENCE ? nextTurn() : nextMillisecond());
      if (this.#failure) throw this.#failure;
      this.whileWaiting?.();
    }
    this.#events.push(event);
  }

  /** The first failure is the one that counts. */
  fail(error: Error): void {
    if (this.#failure) return;
    this.#failure = error;
    this.#onFailure(error);
  }

  /** Gives the context back, and with it all that is left on the device. */
  dispose(): void {
    if (this.#failure instanceof DisposedError) return;
    const { functions } = this.driver;
    // What a lost device answers does not matter any more.
    functions.cuStreamSynchronize(this.stream);
    for (const address of [...this.#kept.values(), ...this.#shared.map((memory) => memory.address)]) {
      functions.cuMemFree(address);
    }
    for (const event of this.#events) functions.cuEventDestroy(event);
    for (const module of this.#modules.values()) functions.cuModuleUnload(module);
    functions.cuStreamDestroy(this.stream);
    functions.cuDevicePrimaryCtxRelease(this.#ordinal);
    this.#failure = new DisposedError('The CUDA backend was disposed of.', 'Make another one.');
  }

  #launchFirst(): void {
    const { launch, count } = fuseFirst(this.#waiting, this.info.sharedBytes);
    const replaced = this.#waiting.splice(0, count);
    const runs = this.isDry || this.#joinsLayers ? this.#layerRuns : undefined;
    // A graph is launched again without its operations, so it leaves nothing out; nor do scopes whose memory others of the scope around
    // them get.
    const mayLeaveOut = this.#scopes === 1 && !this.#isCapturing;
    if (runs) for (const due of runs.next(launch)) this.#enqueue(due);
    else for (const due of this.#unwritten.next(launch, replaced, mayLeaveOut)) this.#enqueue(due);
  }

  #enqueue(launch: Launch): void {
    const { name, grid, parameters } = launch;
    const kernel = this.#kernels.get(name) ?? this.#load(name);
    const [x, y = 1, z = 1] = grid.blocks;
    const { threads, sharedBytes = 0 } = grid;
    this.#allowShared(name, kernel, sharedBytes);
    if (this.isDry) return;
    const { layout } = KERNELS[name];
    writeParameters(this.#parameters, layout, parameters as unknown as Parameters<typeof writeParameters>[2]);
    const overlaps = this.#isCapturing && this.#overlaps.next(launch);
    const config = grid.isCooperative ? this.#cooperative : overlaps ? this.#overlapping : undefined;
    if (config) {
      this.#call('cuLaunchKernelEx', config.of(grid), kernel, this.#parameterList, 0);
    } else {
      this.#call('cuLaunchKernel', kernel, x, y, z, threads, 1, 1, sharedBytes, this.stream, this.#parameterList, 0);
    }
  }

  #load(name: KernelName): Handle {
    const { module } = KERNELS[name];
    const loaded = this.#modules.get(module) ?? this.#made('cuModuleLoadData', this.#ptxOf(module));
    this.#modules.set(module, loaded);
    const kernel = this.#made('cuModuleGetFunction', loaded, name);
    this.#kernels.set(name, kernel);
    return kernel;
  }

  #ptxOf(module: string): Uint8Array {
    const ptx = this.#ptx.get(module) ?? new Uint8Array(1);
    return this.#overlapping ? withWaits(ptx) : ptx;
  }

  /** Whether each multiprocessor holds a block of a launch. */
  #holds(name: KernelName, { threads, sharedBytes = 0 }: Grid): boolean {
    const kernel = this.#kernels.get(name) ?? this.#load(name);
    this.#allowShared(name, kernel, sharedBytes);
    const count = new Int32Array(1);
    this.#call('cuOccupancyMaxActiveBlocksPerMultiprocessor', count, kernel, threads, sharedBytes);
    return count[0] > 0;
  }

  /** Address of memory that has these values, which lasts as the device does. */
  #keep(values: BigInt64Array): Handle {
    const key = values.join();
    const known = this.#kept.get(key);
    if (known !== undefined) return known;
    const address = this.#allocate(values.byteLength, (to, stream) => {
      this.#call('cuMemcpyHtoDAsync', to, values, values.byteLength, stream);
    });
    this.#kept.set(key, address);
    return address;
  }

  /** Address of so many bytes that are zero at first, which all that asks for them shares. */
  #share(bytes: number): Handle {
    const known = this.#shared.find((memory) => memory.bytes >= bytes);
    if (known) return known.address;
    const address = this.#allocate(bytes, (to, stream) => this.#call('cuMemsetD8Async', to, 0, bytes, stream));
    this.#shared.push({ address, bytes });
    return address;
  }

  /** Memory that is written on a stream of its own, even while the other one is captured. */
  #allocate(bytes: number, write: (address: Handle, stream: Handle) => void): Handle {
    const address = this.#made('cuMemAlloc', bytes);
    const stream = this.#made('cuStreamCreate', NON_BLOCKING);
    write(address, stream);
    this.#call('cuStreamSynchronize', stream);
    this.#call('cuStreamDestroy', stream);
    return address;
  }

  /** Lets launches ask for no more than they need: what GPUs allow counts what the kernel declares as well. */
  #allowShared(name: KernelName, kernel: Handle, bytes: number): void {
    if (bytes <= (this.#sharedBytes.get(name) ?? 0)) return;
    this.#call('cuFuncSetAttribute', kernel, MOST_SHARED_BYTES, bytes);
    this.#sharedBytes.set(name, bytes);
  }

  /** What `run` returns; a device that shows to be lost is so for all. */
  #checked<T>(run: () => T): T {
    try {
      return run();
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'device_lost') this.fail(error);
      throw error;
    }
  }
}

/** Milliseconds for which a wait looks at the device whenever nothing else is due. */
const PATIENCE = 5;

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function nextMillisecond(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 1));
}

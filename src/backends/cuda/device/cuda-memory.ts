import { OutOfDeviceMemoryError } from '../../../errors.ts';
import { Arena, CHUNK_BYTES, type Chunk, START } from './arena.ts';
import type { CudaDevice } from './cuda-device.ts';
import { CudaTensor } from './cuda-tensor.ts';
import type { Handle } from './driver.ts';

/** Addresses of new memory are multiples of this. */
const ALIGNMENT = 256;
/** Bytes that stay free for the steps of a model, besides what was reserved. */
const STEP_BYTES = 256 * 2 ** 20;

/** Host memory that the device copies to and from by itself. */
export interface PinnedMemory {
  readonly address: Handle;
  readonly bytes: ArrayBuffer;
}

/**
 * Memory of the device. What is made outside of scopes has memory of its own until the backend is disposed of. Scopes
 * share an arena, one after another: a scope's memory is free again when it ends, and the next one gets the same addresses,
 * so that a graph of a step finds its tensors where they were. Parts of a scope take turns with arenas of their own, so
 * that each still has what the one before it made. Everything runs on one stream, so what is enqueued later never
 * overwrites what is still to be read.
 */
export class CudaMemory {
  readonly #device: CudaDevice;
  readonly #lasting = new Set<Handle>();
  readonly #scopes = new Arena();
  /**
   * Three: a kernel that ends a part may take over the first launches of the next one (launch/fuse.ts). It reads what its own part
   * and the one before have made, and writes in its own and the next one's arena.
   */
  readonly #parts = [new Arena(), new Arena(), new Arena()];
  readonly #arenas = [this.#scopes, ...this.#parts];
  readonly #pinned: PinnedMemory[] = [];
  readonly #allPinned: PinnedMemory[] = [];
  /** Memory of saved slots that nothing holds any more, by bytes. */
  readonly #spare = new Map<number, Handle[]>();
  /** Memory that one operation after another uses, by purpose. */
  readonly #scratch = new Map<string, Chunk>();
  #depth = 0;
  /** Where new tensors lie: in the scopes' arena, or in that of a part. */
  #arena = this.#scopes;
  /** Parts that the scope has had, and whether one that it lies in has any. */
  #numParts = 0;
  #isInParts = false;

  constructor(device: CudaDevice) {
    this.#device = device;
  }

  get isInScope(): boolean {
    return this.#depth > 0;
  }

  /** Runs `run`; memory that is allocated meanwhile is free again after. Where it fails, chunks that it added are given back. */
  scope<T>(run: () => T): T {
    const [arena, numParts, isInParts] = [this.#arena, this.#numParts, this.#isInParts];
    const { place } = arena;
    const sizes = this.#arenas.map(({ size }) => size);
    if (this.#depth++ === 0) for (const each of this.#arenas) each.beginUse();
    this.#device.scopes = this.#depth;
    this.#isInParts ||= numParts > 0;
    this.#numParts = 0;
    let hasFailed = true;
    try {
      const result = run();
      hasFailed = false;
      return result;
    } finally {
      this.#depth--;
      [this.#numParts, this.#isInParts] = [numParts, isInParts];
      arena.place = place;
      this.#device.flush();
      this.#device.scopes = this.#depth;
      if (hasFailed) this.#free(this.#arenas.flatMap((each, i) => each.shrink(sizes[i])));
    }
  }

  /** Runs a part of a scope. Memory that is allocated meanwhile is free again some parts later. */
  part<T>(run: () => T): T {
    // Outside of scopes all memory stays. A scope within a part would take the memory of what that part has read.
    if (!this.isInScope || this.#isInParts) return run();
    const outer = this.#arena;
    this.#arena = this.#parts[this.#numParts++ % this.#parts.length];
    this.#arena.place = START;
    try {
      const result = run();
      this.#device.endPart(result instanceof CudaTensor ? result.address : undefined);
      return result;
    } finally {
      this.#arena = outer;
    }
  }

  /** @throws OutOfDeviceMemoryError unless so many more bytes are free, and some for steps. */
  reserve(bytes: number): void {
    const [free, total] = [new BigUint64Array(1), new BigUint64Array(1)];
    this.#device.call('cuMemGetInfo', free, total);
    if (bytes + STEP_BYTES <= Number(free[0])) return;
    throw new OutOfDeviceMemoryError(
      `The model takes ${megabytes(bytes)} MB, and ${megabytes(STEP_BYTES)} MB for its steps; ${megabytes(Number(free[0]))} MB of the GPU's ${megabytes(Number(total[0]))} MB are free.`,
      'Use a smaller dtype, fewer slots (maxNumSeqs), or less memory for keys and values (kvCacheMemoryBytes).',
    );
  }

  /** Keeps what the scope has used so far where it is: a graph will use it again. */
  keepForGraph(): void {
    for (const arena of this.#arenas) arena.keep();
  }

  /** Memory that is not set: of the scope, or lasting where there is none. */
  allocate(bytes: number): Handle {
    return this.isInScope ? this.#inScope(roundUp(bytes)) : this.allocateLasting(bytes);
  }

  allocateLasting(bytes: number): Handle {
    const address = this.#allocate(roundUp(bytes));
    this.#lasting.add(address);
    return address;
  }

  /**
   * Memory that holds what one operation's kernels leave for each other, until the next operation of the purpose. What was
   * given for less stays where it is, as graphs may use it.
   */
  scratch(purpose: string, bytes: number): Handle {
    const known = this.#scratch.get(purpose);
    if (known && known.bytes >= bytes) return known.address;
    const made = { address: this.allocateLasting(2 * bytes), bytes: 2 * bytes };
    this.#scratch.set(purpose, made);
    return made.address;
  }

  /** Lasting memory that {@link giveBack} takes. */
  borrow(bytes: number): Handle {
    return this.#spare.get(bytes)?.pop() ?? this.allocateLasting(bytes);
  }

  giveBack(address: Handle, bytes: number): void {
    const spare = this.#spare.get(bytes) ?? [];
    spare.push(address);
    this.#spare.set(bytes, spare);
  }

  /** Runs `use` with pinned memory of at least so many bytes, which is others' again once its promise has settled. */
  async withPinned<T>(bytes: number, use: (memory: PinnedMemory) => Promise<T>): Promise<T> {
    const at = this.#pinned.findIndex((memory) => memory.bytes.byteLength >= bytes);
    const memory = at < 0 ? this.#pin(bytes) : this.#pinned.splice(at, 1)[0];
    try {
      return await use(memory);
    } finally {
      this.#pinned.push(memory);
    }
  }

  dispose(): void {
    this.#free([...this.#lasting, ...this.#arenas.flatMap((arena) => arena.addresses)]);
    for (const { address } of this.#allPinned) this.#device.driver.functions.cuMemFreeHost(address);
  }

  #inScope(bytes: number): Handle {
    const arena = this.#arena;
    const address = arena.take(bytes);
    if (address !== undefined) return address;
    const size = Math.max(CHUNK_BYTES, bytes);
    arena.add({ address: this.#allocate(size), bytes: size });
    return this.#inScope(bytes);
  }

  /** Memory of the device, if need be what nothing holds. @throws OutOfDeviceMemoryError */
  #allocate(bytes: number): Handle {
    try {
      return this.#device.made('cuMemAlloc', bytes);
    } catch (error) {
      if (!(error instanceof OutOfDeviceMemoryError) || !this.#freeUnused()) throw error;
      return this.#device.made('cuMemAlloc', bytes);
    }
  }

  /** Gives back memory of saved slots, and chunks behind those that the scope and graphs use. @returns whether there was some */
  #freeUnused(): boolean {
    const slots = [...this.#spare.values()].flat();
    const chunks = this.#arenas.flatMap((arena) => arena.shrink(this.isInScope ? arena.numUsed : 0));
    this.#spare.clear();
    for (const address of slots) this.#lasting.delete(address);
    this.#free([...slots, ...chunks]);
    return slots.length + chunks.length > 0;
  }

  /** The driver waits for what uses the memory. */
  #free(addresses: readonly Handle[]): void {
    for (const address of addresses) this.#device.driver.functions.cuMemFree(address);
  }

  #pin(bytes: number): PinnedMemory {
    const size = Math.max(4096, 2 ** Math.ceil(Math.log2(bytes)));
    const address = this.#device.made('cuMemHostAlloc', size, 0);
    const memory = { address, bytes: this.#device.driver.koffi.view(BigInt(address), size) };
    this.#allPinned.push(memory);
    return memory;
  }
}

function roundUp(bytes: number): number {
  return Math.max(1, Math.ceil(bytes / ALIGNMENT)) * ALIGNMENT;
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}

import { GpuError } from '../../../errors.ts';
import type { DeviceBuffer, GpuMemory } from '../device/gpu-memory.ts';
import type { Storage } from '../device/gpu-tensor.ts';
import { USAGE } from '../device/gpu-usage.ts';
import type { Kernel } from '../device/kernel.ts';
import { type Command, type Dispatch, type ReadBack, storagesOf } from './command.ts';

/** A command with everything that is needed to encode it. */
export type PlannedCommand =
  | {
      readonly type: 'dispatch';
      readonly kernel: Kernel;
      readonly group: GPUBindGroup;
      /** The offset of the kernel's params in the plan's, if the kernel has any. */
      readonly params: readonly number[];
      readonly workgroups: Dispatch['workgroups'];
    }
  | {
      readonly type: 'copy';
      readonly from: GPUBuffer;
      readonly fromOffset: number;
      readonly to: GPUBuffer;
      readonly toOffset: number;
      readonly bytes: number;
    }
  | { readonly type: 'clear'; readonly buffer: GPUBuffer; readonly offset: number; readonly bytes: number }
  | { readonly type: 'read'; readonly buffer: GPUBuffer; readonly offset: number; readonly read: ReadBack }
  | Write;

/** Host data for a buffer. */
export interface Write {
  readonly type: 'write';
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly data: Float32Array | Int32Array | ArrayBuffer;
}

/** Commands that run in this order, one plan after another. */
export interface Plan {
  /** Written before any of its commands runs. */
  readonly uploads: readonly Write[];
  readonly commands: readonly PlannedCommand[];
}

export interface NewPlan extends Plan {
  /** The buffer of the params, if there are any: of the pool, and the plan's own if the plan repeats. */
  readonly params: DeviceBuffer | undefined;
}

/** Params are bound with dynamic offsets, which must be multiples of this on every device. */
const PARAMS_ALIGNMENT = 256;
const PARAMS_USAGE = USAGE.uniform | USAGE.copyTarget;
/** Bind groups that are kept. A model's steps use some hundreds. */
const MAX_BIND_GROUPS = 8192;

/** Gives commands their buffers and bind groups. */
export class PlanMaker {
  readonly #device: GPUDevice;
  readonly #memory: GpuMemory;
  readonly #groups = new Map<string, GPUBindGroup>();
  /** Buffer for the params of plans that run once. */
  #params: DeviceBuffer | undefined;

  constructor(device: GPUDevice, memory: GpuMemory) {
    this.#device = device;
    this.#memory = memory;
  }

  /**
   * @param uploads values of temporary storages, from the host.
   * @param repeats whether the plan will be run again: then its params get a buffer of their own.
   * @param kept storages that keep their buffers to the end of the plan.
   */
  make(
    commands: readonly Command[],
    uploads: ReadonlyMap<Storage, Float32Array | Int32Array>,
    { repeats = false, kept = [] }: { repeats?: boolean; kept?: readonly Storage[] } = {},
  ): NewPlan {
    const lastUse = new Map<Storage, number>();
    commands.forEach((command, i) => {
      for (const storage of storagesOf(command)) lastUse.set(storage, i);
    });
    for (const storage of kept) lastUse.set(storage, commands.length);
    const params = new ParamsWriter(commands.filter(hasParams).length);
    const paramsBuffer = this.#paramsBuffer(params.bytes, repeats);
    const written = [...uploads].filter(([storage]) => lastUse.has(storage));
    const writes: Write[] = written.map(([storage, data]) => ({
      type: 'write',
      buffer: this.#bufferOf(storage).gpu,
      offset: 0,
      data,
    }));
    const planned = commands.map((command, i) => {
      const result = this.#plan(command, params, paramsBuffer);
      for (const storage of new Set(storagesOf(command))) if (lastUse.get(storage) === i) this.#release(storage);
      return result;
    });
    for (const storage of kept) this.#release(storage);
    if (paramsBuffer) writes.push({ type: 'write', buffer: paramsBuffer.gpu, offset: 0, data: params.data });
    return { uploads: writes, commands: planned, params: paramsBuffer };
  }

  #plan(command: Command, params: ParamsWriter, paramsBuffer: DeviceBuffer | undefined): PlannedCommand {
    switch (command.type) {
      case 'dispatch': {
        const { kernel, workgroups } = command;
        const isTold = hasParams(command);
        const group = this.#group(command, isTold ? paramsBuffer : undefined);
        return { type: 'dispatch', kernel, group, params: isTold ? [params.add(command)] : [], workgroups };
      }
      case 'copy': {
        const { type, fromOffset, toOffset, bytes } = command;
        const [from, to] = [this.#bufferOf(command.from).gpu, this.#bufferOf(command.to).gpu];
        return { type, from, fromOffset, to, toOffset, bytes };
      }
      default: {
        const { storage, ...rest } = command;
        return { ...rest, buffer: this.#bufferOf(storage).gpu };
      }
    }
  }

  #bufferOf(storage: Storage): DeviceBuffer {
    if (storage.isGone) throw new GpuError('A tensor is used after the end of the scope that it was made in.');
    storage.buffer ??= this.#memory.acquire(storage.bytes);
    return storage.buffer;
  }

  #release(storage: Storage): void {
    if (!storage.isTemporary || storage.isGone || !storage.buffer) return;
    this.#memory.release(storage.buffer);
    storage.isGone = true;
  }

  #group({ kernel, bindings }: Dispatch, params: DeviceBuffer | undefined): GPUBindGroup {
    const buffers = kernel.bindings.map(({ name }) => this.#bufferOf(bindings[name]));
    const size = Math.ceil(kernel.params.length / 4) * 16;
    const key = `${kernel.layout.id} ${params?.id ?? ''} ${size} ${buffers.map(({ id }) => id).join(' ')}`;
    const known = this.#groups.get(key);
    if (known) return known;
    const group = this.#device.createBindGroup({
      layout: kernel.layout.group,
      entries: [
        ...(params ? [{ binding: 0, resource: { buffer: params.gpu, size } }] : []),
        ...buffers.map(({ gpu }, i) => ({ binding: kernel.bindings[i].binding, resource: { buffer: gpu } })),
      ],
    });
    if (this.#groups.size >= MAX_BIND_GROUPS) this.#groups.clear();
    this.#groups.set(key, group);
    return group;
  }

  #paramsBuffer(bytes: number, repeats: boolean): DeviceBuffer | undefined {
    if (bytes === 0) return undefined;
    if (repeats) return this.#memory.acquire(bytes, PARAMS_USAGE);
    if (this.#params && this.#params.bytes >= bytes) return this.#params;
    if (this.#params) this.#memory.release(this.#params);
    this.#params = this.#memory.acquire(2 * bytes, PARAMS_USAGE);
    return this.#params;
  }
}

function hasParams(command: Command): boolean {
  return command.type === 'dispatch' && command.kernel.params.length > 0;
}

/** Lays out the params of a plan's dispatches, one after the other. */
class ParamsWriter {
  readonly data: ArrayBuffer;
  readonly #view: DataView;
  #used = 0;

  constructor(dispatches: number) {
    this.data = new ArrayBuffer(dispatches * PARAMS_ALIGNMENT);
    this.#view = new DataView(this.data);
  }

  get bytes(): number {
    return this.data.byteLength;
  }

  /** Adds a dispatch's params and returns where they begin. */
  add({ kernel, params }: Dispatch): number {
    const begin = this.#used;
    this.#used += PARAMS_ALIGNMENT;
    kernel.params.forEach(({ name, type }, i) => {
      const at = begin + 4 * i;
      if (type === 'f32') this.#view.setFloat32(at, params[name], true);
      else this.#view.setInt32(at, params[name], true);
    });
    return begin;
  }
}

import type { Storage } from '../device/gpu-tensor.ts';
import type { Kernel } from '../device/kernel.ts';

/** One run of a kernel. */
export interface Dispatch {
  readonly type: 'dispatch';
  readonly kernel: Kernel;
  /** Storages by the names in the shader; `Lowering.dispatch` sees to it that none is missing. */
  readonly bindings: Readonly<Record<string, Storage>>;
  /** Numbers by the names in the shader's `Params`, likewise. */
  readonly params: Readonly<Record<string, number>>;
  readonly workgroups: readonly [x: number, y: number, z: number];
}

/** A command to the device, whose storages have no buffers yet. Offsets and lengths are in bytes. */
export type Command =
  | Dispatch
  | {
      readonly type: 'copy';
      readonly from: Storage;
      readonly fromOffset: number;
      readonly to: Storage;
      readonly toOffset: number;
      readonly bytes: number;
    }
  | { readonly type: 'clear'; readonly storage: Storage; readonly offset: number; readonly bytes: number }
  | {
      readonly type: 'write';
      readonly storage: Storage;
      readonly offset: number;
      readonly data: Float32Array | Int32Array;
    }
  | { readonly type: 'read'; readonly storage: Storage; readonly offset: number; readonly read: ReadBack };

/** Bytes on their way to the host. */
export interface ReadBack {
  readonly bytes: number;
  /** @param mapped valid during the call. */
  readonly resolve: (mapped: ArrayBuffer) => void;
  readonly reject: (error: Error) => void;
}

/** The storages that a command touches. */
export function storagesOf(command: Command): readonly Storage[] {
  switch (command.type) {
    case 'dispatch':
      return Object.values(command.bindings);
    case 'copy':
      return [command.from, command.to];
    default:
      return [command.storage];
  }
}

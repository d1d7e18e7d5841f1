import type { KernelName, KernelParameters } from '../kernels/kernels.generated.ts';
import type { DeviceRows } from '../kernels/parameters.ts';

/** Numbers of blocks and of threads in each. */
export interface Grid {
  readonly blocks: readonly [x: number, y?: number, z?: number];
  readonly threads: number;
  /** Bytes of shared memory of a block besides those that the kernel declares. Default: 0. */
  readonly sharedBytes?: number | undefined;
  /** Whether all blocks run at a time, as they wait for each other. Default: false. */
  readonly isCooperative?: boolean | undefined;
}

/** A kernel that is to run. */
export interface LaunchOf<Name extends KernelName> {
  readonly name: Name;
  readonly grid: Grid;
  readonly parameters: KernelParameters[Name];
}

export type Launch = { readonly [Name in KernelName]: LaunchOf<Name> }[KernelName];
/** A launch of any kernel that takes these parameters. */
export type LaunchWith<Params> = LaunchOf<
  { [Name in KernelName]: KernelParameters[Name] extends Params ? Name : never }[KernelName]
>;

/** Addresses that members of a launch's parameters have; absent ones have none. */
export function addressesOf({ parameters }: Launch, members: readonly string[]): number[] {
  const values = parameters as unknown as Readonly<Record<string, number | DeviceRows | undefined>>;
  return members.flatMap((member) => {
    const value = values[member];
    return (typeof value === 'object' ? value.address : value) ?? [];
  });
}

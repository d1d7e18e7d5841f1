import { divide, extraGroupsForHeadShards } from './weight-loaders.ts';

/** What decides the size of a mixer's state. */
export interface MambaStateSize {
  readonly intermediateSize: number;
  readonly nGroups: number;
  readonly numHeads: number;
  readonly headDim: number;
  readonly stateSize: number;
  readonly convKernel: number;
}

/** Shapes of one sequence's state on one rank. */
export interface MambaStateShape {
  /** (channels of x, B and C, taps - 1) */
  readonly conv: readonly [number, number];
  /** (heads, head dim, state size) */
  readonly ssm: readonly [number, number, number];
}

/** `nGroups` is the model's own number of groups, without those that sharding repeats. */
export function mamba2StateShape(size: MambaStateSize, tpSize: number): MambaStateShape {
  const nGroups = size.nGroups + extraGroupsForHeadShards(size.nGroups, tpSize);
  const convDim = size.intermediateSize + 2 * nGroups * size.stateSize;
  return {
    conv: [divide(convDim, tpSize, 'The conv state'), size.convKernel - 1],
    ssm: [divide(size.numHeads, tpSize, 'The SSM state'), size.headDim, size.stateSize],
  };
}

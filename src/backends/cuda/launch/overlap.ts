import { KERNELS } from '../kernels/kernels.generated.ts';
import { addressesOf, type Launch } from './launch.ts';

/** Compute capability and driver from which on a kernel of a graph may begin before the one before it has ended. */
const LEAST_CAPABILITY = 90;
const LEAST_DRIVER = 12_030;

/** PTX for such GPUs: its first lines, and the instructions that stand in comments for all others. */
const OLDEST = /^\.version 7\.4\n\.target sm_80\n/;
const NEWER = '.version 7.8\n.target sm_90\n';
const INSTRUCTION = /\/\*(griddepcontrol\.\w+;)\*\//g;

/** Members that kernels read before they wait for the kernel before: see await_previous in cuda/common.cuh. */
const READ_EARLY = [
  ...['weight', 'bias', 'convWeight', 'convBias', 'convStates', 'convSlots', 'normWeight'],
  ...['states', 'slots', 'replayed', 'replayCounts', 'A', 'D', 'dtBias', 'rows'],
];
/** Members that they write. */
const WRITTEN = [
  ...['out', 'sum', 'scaled', 'total', 'convOut', 'convStates', 'normY', 'normOut', 'normSquareSums', 'gated'],
  ...['squareSums', 'parts', 'factors', 'states', 'replayed', 'sampled', 'outTokenIds', 'outSlots', 'logits'],
  ...['originals', 'spans'],
];

/** Whether kernels may overlap on a GPU. */
export function canOverlap(capability: number, driverVersion: number): boolean {
  return capability >= LEAST_CAPABILITY && driverVersion >= LEAST_DRIVER;
}

/** A module's PTX with the instructions by which kernels wait for each other. Modules for newer GPUs stay as they are. */
export function withWaits(ptx: Uint8Array): Uint8Array {
  const text = new TextDecoder().decode(ptx);
  if (!OLDEST.test(text)) return ptx;
  return new TextEncoder().encode(text.replace(OLDEST, NEWER).replace(INSTRUCTION, '$1'));
}

/**
 * Which kernels of a graph may begin while the one before still runs. All of a run of such kernels wait before they read what
 * others write. Of what they read early, nothing may have been written since the run began: for the kernel that it begins with
 * everything else has ended.
 */
export class Overlaps {
  /** Addresses that the run's kernels write; undefined if the next kernel must begin another run. */
  #written: Set<number> | undefined;

  /** The next kernel that is launched. → whether it may begin before the last one has ended */
  next(launch: Launch): boolean {
    const { awaits } = KERNELS[launch.name];
    const written = this.#written;
    const overlaps = awaits && written !== undefined && !addressesOf(launch, READ_EARLY).some((at) => written.has(at));
    const run = overlaps ? written : new Set<number>();
    for (const address of addressesOf(launch, WRITTEN)) run.add(address);
    this.#written = awaits ? run : undefined;
    return overlaps;
  }

  /** Tells that something else is launched next. */
  end(): void {
    this.#written = undefined;
  }
}

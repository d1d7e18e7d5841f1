import { KERNELS } from '../kernels/kernels.generated.ts';
import type { DeviceRows } from '../kernels/parameters.ts';
import type { Launch } from './launch.ts';

/** Rows up to which all is written: that takes no time. */
const FEW_ROWS = 64;
/** Columns up to which a norm needs no memory for its rows. */
const MOST_NORM_COLUMNS = 4096;
/** Products that can do without their outputs, where they add them to others. */
const WIDE_PRODUCT = /^linear_wide_\d+x\d+_B?FLOAT16$/;

const NOTHING: readonly Launch[] = [];

/** Rows that no kernel has written. */
interface UnwrittenRows {
  readonly ranges: readonly { readonly begin: number; readonly end: number }[];
  /** What writes them. */
  readonly launches: readonly Launch[];
  /** Address of the layer's weights, which tells it apart from others. */
  readonly weight: number;
}

/**
 * What launches of prompts leave out. A launch that stands for several would write rows which usually nothing reads any more, as it
 * hands on what is made of them. So they are not written until something reads them: then the launches that it stands for make them,
 * of the same inputs and to the same bits, and the layer's rows are written in later steps.
 *
 * Nothing may write over what a launch has read before the part of the scope after its own has ended; nor does anything: operations
 * write to tensors of their own, states and caches.
 *
 * Every launch of a prompt passes here: loops make no objects.
 */
export class Unwritten {
  #rows: UnwrittenRows[] = [];
  readonly #wanted = new Set<number>();

  /**
   * Takes the next launch, and those that it stands for.
   * @param mayLeaveOut whether it may do without some of its rows.
   * @returns what is due now
   */
  next(launch: Launch, replaced: readonly Launch[], mayLeaveOut: boolean): readonly Launch[] {
    const due = this.#rows.length === 0 ? NOTHING : this.#readBy(launch);
    const next = mayLeaveOut ? this.#withLess(launch, replaced) : launch;
    return due.length === 0 ? [next] : [...due, next];
  }

  /** Tells that something reads from an address. → what is due before */
  read(address: number): readonly Launch[] {
    const found = this.#rows.find((rows) => contains(rows, address));
    if (!found) return NOTHING;
    this.#rows = this.#rows.filter((rows) => rows !== found);
    this.#wanted.add(found.weight);
    return found.launches;
  }

  /** Tells that a part of the scope has ended: of what it and the one before have made, only its result is read later. */
  endPart(result: number | undefined): void {
    if (this.#rows.length === 0) return;
    this.#rows = this.#rows.filter((rows) => result !== undefined && contains(rows, result));
  }

  /** Tells that the scope has ended. */
  clear(): void {
    if (this.#rows.length > 0) this.#rows = [];
  }

  #readBy({ name, parameters }: Launch): readonly Launch[] {
    let due = NOTHING;
    const values = parameters as unknown as Readonly<Record<string, number | DeviceRows | undefined>>;
    for (const { name: member, kind } of KERNELS[name].layout.members) {
      if (kind !== 'rows' && kind !== 'pointer') continue;
      const value = values[member];
      const address = typeof value === 'object' ? value.address : value;
      if (address === undefined) continue;
      for (const rows of this.#rows) {
        if (!contains(rows, address)) continue;
        due = [...due, ...this.read(address)];
        break;
      }
    }
    return due;
  }

  /** The launch without what can be left out. */
  #withLess(launch: Launch, replaced: readonly Launch[]): Launch {
    const { name, parameters, grid } = launch;
    const [rows] = grid.blocks;
    if ('squareSums' in parameters && 'gated' in parameters) {
      const { weight, gated, squareSums, out, C, groups, numParts } = parameters;
      const made = [
        [gated, C],
        [squareSums, groups],
        [out, C],
      ] as const;
      // All but the split.
      if (numParts === 0 || !this.#leavesOut(weight?.address, replaced.slice(0, 3), rows, made)) return launch;
      return lessOf(launch, { gated: undefined, squareSums: undefined, out: undefined });
    }
    if ('hasAddend' in parameters && 'parts' in parameters) {
      const { weight, out, C, numParts } = parameters;
      const norm = replaced.filter((each) => each.name === 'rms_norm');
      const isLong = C > MOST_NORM_COLUMNS;
      if (numParts === 0 || isLong || !this.#leavesOut(weight?.address, norm, rows, [[out, C]])) return launch;
      return lessOf(launch, { out: undefined });
    }
    if ('normX' in parameters && WIDE_PRODUCT.test(name)) {
      const { weight, out, T, N, hasAddend, isScaled, slices } = parameters;
      const isWhole = hasAddend && !isScaled && slices === undefined;
      if (!isWhole || !this.#leavesOut(weight, replaced.slice(0, 1), T, [[out, N]])) return launch;
      return lessOf(launch, { out: undefined });
    }
    return launch;
  }

  /** Leaves rows out, which launches of a layer make, unless they are few or something has read that layer's. → whether it does */
  #leavesOut(
    weight: number | undefined,
    launches: readonly Launch[],
    count: number,
    made: readonly (readonly [rows: DeviceRows | undefined, columns: number])[],
  ): boolean {
    if (count <= FEW_ROWS || weight === undefined || this.#wanted.has(weight)) return false;
    const ranges = made.flatMap(([rows, columns]) =>
      rows ? [{ begin: rows.address, end: rows.address + 4 * ((count - 1) * rows.stride + columns) }] : [],
    );
    this.#rows.push({ ranges, launches, weight });
    return true;
  }
}

function contains({ ranges }: UnwrittenRows, address: number): boolean {
  for (const { begin, end } of ranges) if (address >= begin && address < end) return true;
  return false;
}

function lessOf(launch: Launch, parameters: Readonly<Record<string, undefined>>): Launch {
  return { ...launch, parameters: { ...launch.parameters, ...parameters } } as Launch;
}

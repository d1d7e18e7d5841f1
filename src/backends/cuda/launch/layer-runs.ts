import {
  KERNELS,
  type LinearHalvesParams,
  type MambaLayersParams,
  type StateSpaceParams,
} from '../kernels/kernels.generated.ts';
import type { DeviceRows, ParameterLayout } from '../kernels/parameters.ts';
import { addressesOf, type Launch } from './launch.ts';

/** What cuda/layers.cuh has room for: see there. */
const STATE_COLUMNS = 128;
const MOST_CHANNELS = 64;
const MOST_HEADS = 15;
const MOST_NORM_GROUPS = 8;
const THREADS = 256;
const SLICES = 8;
const STEP_OUTPUTS = 32;
const STEP_INPUTS = 32;
/** Columns of a row that 256 threads have, four each. */
const QUAD_COLUMNS = 4 * THREADS;
/** Bytes of a step in the rings of all warps whose threads copy what they multiply. */
const STAGE_BYTES = 16_384;
/**
 * The ring of whole rows: bytes that a slot should have, rows in a slot and rows that are multiplied together at most, slots at
 * least and at most, and bytes of their barriers.
 */
const SLOT_BYTES = 40_960;
const MOST_SLOT_ROWS = 8;
const MOST_TILE_ROWS = 16;
const LEAST_SLOTS = 4;
const MOST_SLOTS = 32;
const BARRIER_BYTES = 8 * MOST_SLOTS;
/**
 * Kernels: quads of a row of the residual and of the mixer's channels that a thread has at most, and rows of a state that a warp has;
 * columns of the residual for which they are faster than one kernel after another, by measurement, from and up to; and steps of their
 * rings. Without these the copy engine brings whole rows, which is faster for float16 only.
 */
const KINDS = [
  { name: 'mamba_layers_2', hiddenQuads: 1, innerQuads: 2, ownRows: 2, fast: [[0, 1024]], stages: 10 },
  {
    name: 'mamba_layers_5',
    hiddenQuads: 3,
    innerQuads: 5,
    ownRows: 5,
    fast: [
      [1025, 1536],
      [2560, 3072],
    ],
    stages: undefined,
  },
  { name: 'mamba_layers_8', hiddenQuads: 4, innerQuads: 8, ownRows: 8, fast: [[4096, 4096]], stages: 5 },
] as const;
/** Bytes before the numbers that are exchanged, for the tag that was last used. */
const TAG_BYTES = 256;
/** Addresses of a layer that the head has none of. */
const NO_HEAD = 9;
/** Fewest layers that are worth a launch of its own. */
const LEAST_LAYERS = 3;

/** Formats of weights that have kernels. */
type Format = 'FLOAT16' | 'BFLOAT16';

/** What a layer is made of: a product of a row with the norm before it, or a step of the state; or something else. */
interface Piece {
  readonly launch: Launch;
  readonly product?: Product | undefined;
  readonly state?: StateSpaceParams | undefined;
}
interface Product {
  readonly format: Format;
  readonly isGated: boolean;
  readonly parameters: LinearHalvesParams;
}

/** A layer that decodes one row: see docs/cuda.md. */
interface Layer {
  readonly input: LinearHalvesParams;
  readonly state: StateSpaceParams;
  readonly output: LinearHalvesParams;
}

/** Whether layers become one launch: wherever a kernel takes them, where that is known to be faster, or not at all. */
export type OneLaunch = 'always' | 'fast' | 'never';

/** What a GPU is asked for. */
export interface LayerRunDevice {
  readonly when: OneLaunch;
  /** Whether nothing runs: kernels are only compiled. */
  isDry(): boolean;
  /** Blocks that it runs at a time. */
  readonly multiprocessors: number;
  /** Bytes of shared memory of a block. */
  readonly sharedBytes: number;
  /** Whether each multiprocessor holds a block of a launch. */
  holds(launch: Pick<Launch, 'name' | 'grid'>): boolean;
  /** Address of memory that has these values, and is written by nothing. */
  keep(values: BigInt64Array): number;
  /** Address of so many bytes that are zero at first, for kernels of one run after the other. */
  share(bytes: number): number;
}

/**
 * Launches of a step that become fewer: those of neighbouring Mamba-2 layers that decode one row, and of a head after them, become
 * a single cooperative launch of cuda/layers.cuh. States, the last layer's output and the head's have the same bits after it. What
 * else the layers would have written is not, so the step must not read it: {@link isMissed} says whether it does.
 */
export class LayerRuns {
  readonly #device: LayerRunDevice;
  /** Pieces of whole layers, and of one that has begun. */
  #held: Piece[] = [];
  /** Memory that is not written: first addresses, and those after the last. */
  readonly #unwritten: (readonly [begin: number, end: number])[] = [];
  #isMissed = false;

  constructor(device: LayerRunDevice) {
    this.#device = device;
  }

  /** Whether a launch read what a run has not written since {@link begin}. */
  get isMissed(): boolean {
    return this.#isMissed;
  }

  /** Begins another step. */
  begin(): void {
    this.#held = [];
    this.#unwritten.length = 0;
    this.#isMissed = false;
  }

  /** Takes the next launch of the step. → what is due now */
  next(launch: Launch): readonly Launch[] {
    const piece = pieceOf(launch);
    const isHead = this.#takesHead(piece);
    const joins = isHead || this.#extends(piece);
    const due = joins ? [] : this.#finish();
    // Reads count of what runs that have ended left unwritten: a run that the piece joins has what it makes at hand.
    for (const address of addressesOf(launch, pointersOf(launch))) this.read(address);
    if (isHead) return this.#finish(piece);
    if (!joins && !isInput(piece.product)) return [...due, launch];
    this.#held.push(piece);
    return due;
  }

  /** Tells that something else comes next. → what is due before it */
  end(): readonly Launch[] {
    return this.#finish();
  }

  #finish(head?: Piece): readonly Launch[] {
    const held = this.#held;
    this.#held = [];
    const layers = Array.from({ length: Math.floor(held.length / 3) }, (_, i) => {
      const [input, state, output] = held.slice(3 * i, 3 * i + 3);
      return { input: input.product?.parameters, state: state.state, output: output.product?.parameters } as Layer;
    });
    const format = held[0]?.product?.format;
    const isLong = format !== undefined && layers.length >= LEAST_LAYERS;
    const last = head?.product?.parameters;
    const whole = isLong && last ? this.#launchOf(format, layers, last) : undefined;
    const run = isLong ? (whole ?? this.#launchOf(format, layers)) : undefined;
    const all = [...held, ...(head ? [head] : [])];
    if (!run) return all.map(({ launch }) => launch);
    for (const [i, layer] of layers.entries()) this.#unwritten.push(...unwrittenOf(layer, i + 1 === layers.length));
    if (!whole || !last) return [run, ...all.slice(3 * layers.length).map(({ launch }) => launch)];
    this.#unwritten.push(...rangesOf([[last.normOut, last.K]]));
    return [run];
  }

  /** Tells that something reads from an address. */
  read(address: number): void {
    this.#isMissed ||= this.#unwritten.some(([begin, end]) => address >= begin && address < end);
  }

  #extends(piece: Piece): boolean {
    const held = this.#held;
    if (held.length === 0) return false;
    const [input, state] = held.slice(held.length - (held.length % 3));
    if (held.length >= 3 && !isAlike(piece, held[held.length % 3])) return false;
    if (held.length % 3 === 1) return isStateOf(piece.state, input.product);
    if (held.length % 3 === 2) return isOutputOf(piece.product, input.product, state.state);
    if (!isInput(piece.product)) return false;
    const { normX, convSlots } = piece.product.parameters;
    if (held[held.length - 1].product?.parameters.sum?.address !== normX?.address) return false;
    return convSlots === held[0].product?.parameters.convSlots;
  }

  /** Whether a piece is the head of whole layers that are held. */
  #takesHead({ product }: Piece): boolean {
    const held = this.#held;
    const [first, last] = [held[0]?.product, held[held.length - 1]?.product];
    if (held.length % 3 > 0 || !first || !last || !product || !isNormed(product)) return false;
    const { parameters: p } = product;
    const { K, rowBytes, normEps } = first.parameters;
    const isOne = product.format === first.format && p.K === K && p.rowBytes === rowBytes && p.normEps === normEps;
    return isOne && p.convChannels === 0 && p.normX?.address === last.parameters.sum?.address && p.out !== undefined;
  }

  #launchOf(format: Format, layers: readonly Layer[], head?: LinearHalvesParams): Launch | undefined {
    const [{ input: before, state: step, output: after }] = layers;
    const { multiprocessors, sharedBytes: mostShared, when } = this.#device;
    const { H, P, headsPerGroup } = step;
    const [hidden, inner, G] = [before.K, H * P, H / headsPerGroup];
    const rows = 2 * G * STATE_COLUMNS + H;
    // What the block has that has most.
    const [channels, columns] = [Math.ceil(inner / multiprocessors), Math.ceil(hidden / multiprocessors)];
    const outputs = Math.ceil(rows / multiprocessors) + 2 * channels;
    const numOutputs = head?.N ?? 0;
    const fits = channels <= Math.min(MOST_CHANNELS, P * headsPerGroup) && channels / P + 2 <= MOST_HEADS;
    if (!fits || Math.max(outputs, columns) > THREADS) return undefined;
    const { padded: paddedHidden } = before;
    const { padded: paddedInner, normGroups, normGroupSize } = after;
    const most = Math.max(outputs, columns, Math.ceil(numOutputs / multiprocessors));
    const mostOutputs = Math.ceil(most / STEP_OUTPUTS) * STEP_OUTPUTS;
    const quads = normGroups * Math.ceil(normGroupSize / QUAD_COLUMNS);
    const table = tableOf(layers, head);
    const floats = SLICES * mostOutputs + 4 * MOST_CHANNELS + 4 * STATE_COLUMNS + SLICES * (2 * MOST_NORM_GROUPS + 1);
    const ownBytes = 4 * Math.max(paddedHidden, paddedInner) + 4 * floats + table.byteLength;
    const [kind] = KINDS.flatMap(({ name, hiddenQuads, innerQuads, ownRows, fast, stages }) => {
      const takesRow = hidden <= hiddenQuads * QUAD_COLUMNS && quads <= innerQuads && channels <= ownRows * SLICES;
      const isFast = fast.some(([from, upTo]) => hidden >= from && hidden <= upTo);
      const isWanted = when === 'always' || (isFast && (stages !== undefined || format === 'FLOAT16'));
      if (!takesRow || !isWanted) return [];
      const room = mostShared - ownBytes;
      const ring = stages === undefined ? ringOfRows(before, after, room) : ringOfSteps(stages);
      return ring && ring.bytes <= room ? [{ name, ring }] : [];
    });
    if (!kind) return undefined;
    const { ring } = kind;
    const sharedBytes = ring.bytes + ownBytes;
    const name = `${kind.name}_${format}` as const;
    const grid = { blocks: [multiprocessors] as const, threads: THREADS, sharedBytes, isCooperative: true };
    if (!this.#device.holds({ name, grid }) || this.#device.isDry()) return undefined;
    const exchanged = roundUp(hidden) + roundUp(rows) + inner;
    const exchange = this.#device.share(TAG_BYTES + 8 * exchanged);
    const parameters: MambaLayersParams = {
      ...{ layers: this.#device.keep(table), x: before.normX?.address, numLayers: layers.length },
      ...{ out: layers[layers.length - 1].output.sum?.address },
      ...{ outputs: head?.out?.address, numOutputs },
      ...{ lastTag: exchange, exchange: exchange + TAG_BYTES, slots: step.slots },
      ...{ inRowBytes: before.rowBytes, outRowBytes: after.rowBytes, convWeightStride: before.convWeight?.stride ?? 0 },
      ...{ convStateStride: before.convStateStride, stateStride: step.stateStride },
      ...ring.sizes,
      ...{ hidden, paddedHidden, paddedInner, numParts: before.numParts, mostOutputs },
      ...{ H, P, G, normGroups, normGroupSize },
      ...{ convIsSilu: before.convIsSilu, hasConvBias: before.hasConvBias, hasD: step.hasD, hasBias: step.hasBias },
      ...{ isSoftplus: step.isSoftplus, dtLow: step.dtLow, dtHigh: step.dtHigh, normEps: before.normEps },
      ...{ gatedNormCount: after.normCount, gatedNormEps: after.normEps },
    };
    return { name, grid, parameters };
  }
}

/** The ring of weights: its bytes, and what the kernel is told of it. */
interface Ring {
  readonly bytes: number;
  readonly sizes: Pick<MambaLayersParams, 'numSlots' | 'slotBytes' | 'inRows' | 'outRows' | 'inSlots' | 'outSlots'>;
}

function ringOfSteps(stages: number): Ring {
  const sizes = { numSlots: 0, slotBytes: 0, inRows: 0, outRows: 0, inSlots: 0, outSlots: 0 };
  return { bytes: stages * STAGE_BYTES, sizes };
}

/** A ring of whole rows of both products, if so many bytes are enough. Rows have whole steps, and lie one after another. */
function ringOfRows(before: LinearHalvesParams, after: LinearHalvesParams, room: number): Ring | undefined {
  const isWhole = [before, after].every(({ K, rowBytes }) => K % STEP_INPUTS === 0 && rowBytes === 2 * K);
  const rowsOf = (rowBytes: number) => Math.min(MOST_SLOT_ROWS, Math.max(1, Math.floor(SLOT_BYTES / rowBytes)));
  const [inRows, outRows] = [rowsOf(before.rowBytes), rowsOf(after.rowBytes)];
  const slotBytes = Math.max(inRows * before.rowBytes, outRows * after.rowBytes);
  const numSlots = Math.min(MOST_SLOTS, Math.floor((room - BARRIER_BYTES) / slotBytes));
  if (!isWhole || numSlots < LEAST_SLOTS) return undefined;
  // While half of the slots are multiplied, rows come to the others. Those of the out-projection have come before.
  const inSlots = Math.min(Math.floor(MOST_TILE_ROWS / inRows), Math.floor(numSlots / 2));
  const outSlots = Math.min(Math.floor(MOST_TILE_ROWS / outRows), numSlots);
  const sizes = { numSlots, slotBytes, inRows, outRows, inSlots, outSlots };
  return { bytes: numSlots * slotBytes + BARRIER_BYTES, sizes };
}

/** Rows of MambaLayerParams. */
function tableOf(layers: readonly Layer[], head: LinearHalvesParams | undefined): BigInt64Array {
  const rows = layers.flatMap(({ input: before, state: step, output: after }) => [
    ...[before.normWeight?.address, before.weight, before.convWeight?.address, before.convBias?.address],
    ...[before.convStates, step.A?.address, step.D?.address, step.dtBias?.address, step.states],
    ...[after.normWeight?.address, after.weight],
  ]);
  if (head) rows.push(head.normWeight?.address, head.weight, ...Array<undefined>(NO_HEAD));
  return BigInt64Array.from(rows, (address) => BigInt(address ?? 0));
}

function pieceOf(launch: Launch): Piece {
  if (launch.name === 'state_update_128') return { launch, state: launch.parameters };
  const [, gated, format] = /^linear_(?:normed|(gated)(?:_long)?)_\d+_(B?FLOAT16)$/.exec(launch.name) ?? [];
  if (format === undefined) return { launch };
  const parameters = launch.parameters as LinearHalvesParams;
  return { launch, product: { format: format as Format, isGated: gated !== undefined, parameters } };
}

/** Whether a product has a plain norm before it, and nothing after it but what a layer's first one may have. */
function isNormed({ isGated, parameters: p }: Product): boolean {
  const isPlain = p.hasBias === 0 && p.hasAddend === 0 && p.isScaled === 0 && p.normHasAddend === 0 && p.K % 4 === 0;
  return !isGated && isPlain && isVector(p.normWeight) && p.normX !== undefined && p.normX.address % 16 === 0;
}

/** The in-projection of a row, with its norm and its convolution. */
function isInput(product: Product | undefined): product is Product {
  if (!product || !isNormed(product)) return false;
  const { convChannels, convK, convW, hasConvBias, convBias } = product.parameters;
  return convChannels > 0 && convK === 4 && convW === 3 && (hasConvBias === 0 || isVector(convBias));
}

function isStateOf(state: StateSpaceParams | undefined, input: Product | undefined): boolean {
  if (!state || !input) return false;
  const { parameters: p } = input;
  const { x, B, C, dt, A, D, dtBias, rows, H, P, headsPerGroup, slots, ...rest } = state;
  const [inner, groupColumns] = [H * P, (H / headsPerGroup) * STATE_COLUMNS];
  const isUsual = rows === 1 && rest.hasZ === 0 && rest.stateFormat === 0 && rest.dtHead === 1 && rest.dChannel === 0;
  const areVectors = [A, rest.hasD ? D : A, rest.hasBias ? dtBias : A].every(isVector);
  if (!isUsual || !areVectors || !x || !p.convOut || !p.out || slots !== p.convSlots) return false;
  const isWhole = p.convFirst === inner && p.convChannels === inner + 2 * groupColumns;
  const places = [x, B, C].map((rows) => rows && (rows.address - (p.convOut?.address ?? 0)) / 4);
  const areConvolved = places.every((place, i) => place === [0, inner, inner + groupColumns][i]);
  return isWhole && areConvolved && p.N === inner + p.convChannels + H && dt?.address === p.out.address + 4 * (p.N - H);
}

function isOutputOf(
  product: Product | undefined,
  input: Product | undefined,
  step: StateSpaceParams | undefined,
): boolean {
  if (!product?.isGated || !input || !step) return false;
  const [p, before] = [product.parameters, input.parameters];
  const hasSum = p.hasAddend === 1 && p.isScaled === 0;
  const isPlain = p.hasBias === 0 && hasSum && p.convChannels === 0 && isVector(p.normWeight);
  const isOfState = p.normX?.address === step.out?.address && p.normZ?.address === before.out?.address;
  const isResidual = p.addend?.address === before.normX?.address && p.N === before.K && p.K === step.H * step.P;
  const areQuads =
    p.normGroups <= MOST_NORM_GROUPS && p.normGroupSize % 4 === 0 && p.normGroups * p.normGroupSize === p.K;
  return isPlain && isOfState && isResidual && areQuads && product.format === input.format;
}

/** Whether two pieces are of one kind, with the same numbers: all but addresses. */
function isAlike(a: Piece, b: Piece): boolean {
  if (a.product?.format !== b.product?.format) return false;
  if (a.product && b.product) {
    return haveSameNumbers(KERNELS.linear_normed_16_FLOAT16.layout, a.product.parameters, b.product.parameters);
  }
  return (
    a.state !== undefined && b.state !== undefined && haveSameNumbers(KERNELS.state_update_128.layout, a.state, b.state)
  );
}

function haveSameNumbers({ members }: ParameterLayout, a: object, b: object): boolean {
  const [left, right] = [a, b] as Readonly<Record<string, unknown>>[];
  const strideOf = (x: unknown) => (x as DeviceRows | undefined)?.stride;
  return members.every(({ name, kind }) => {
    if (kind === 'pointer') return true;
    return kind === 'rows' ? strideOf(left[name]) === strideOf(right[name]) : left[name] === right[name];
  });
}

function isVector(x: DeviceRows | undefined): boolean {
  return x !== undefined && x.stride === 1 && x.address % 16 === 0;
}

/** Memory that a layer's launches would have written. */
function unwrittenOf(
  { input: before, state: step, output: after }: Layer,
  isLast: boolean,
): (readonly [begin: number, end: number])[] {
  return rangesOf([
    [before.normOut, before.K],
    [before.out, before.N],
    [before.convOut, before.convChannels],
    [step.out, after.K],
    [after.normY, after.K],
    [after.normOut, after.K],
    [after.out, after.N],
    [after.normSquareSums, after.normGroups],
    [isLast ? undefined : after.sum, after.N],
  ]);
}

function rangesOf(
  rows: readonly (readonly [x: DeviceRows | undefined, count: number])[],
): (readonly [begin: number, end: number])[] {
  return rows.flatMap(([x, count]) => (x ? [[x.address, x.address + 4 * count] as const] : []));
}

/** Members of a launch's parameters that are addresses. */
function pointersOf({ name }: Launch): string[] {
  return KERNELS[name].layout.members
    .filter(({ kind }) => kind === 'rows' || kind === 'pointer')
    .map(({ name }) => name);
}

/** Numbers that are exchanged, to whole quads. */
function roundUp(count: number): number {
  return Math.ceil(count / 4) * 4;
}

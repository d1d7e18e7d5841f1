import { UnsupportedDTypeError } from '../errors.ts';
import { mix } from '../util/hash.ts';
import { roundToBfloat16, roundToFloat16 } from './float16.ts';

/** Dtypes of states between two tokens. A step computes in float32, whatever they are kept in. */
export const STATE_DTYPES = ['float32', 'float16', 'bfloat16'] as const;
export type StateDType = (typeof STATE_DTYPES)[number];

/** Dtypes of 16 bits, to which states are rounded. */
export type ShortStateDType = Exclude<StateDType, 'float32'>;

/** A state's dtype by vLLM's name; `auto`: what the model's config says, or float32. */
export const STATE_DTYPE_SETTINGS = ['auto', ...STATE_DTYPES] as const;
export type StateDTypeSetting = (typeof STATE_DTYPE_SETTINGS)[number];

/** How states of 16 bits are rounded. */
export const STATE_ROUNDINGS = ['nearest', 'stochastic'] as const;
export type StateRounding = (typeof STATE_ROUNDINGS)[number];

/** Storage of a model's states. */
export interface StateStorage {
  readonly dtype: StateDType;
  /** Means nothing for float32. */
  readonly rounding: StateRounding;
  /**
   * Steps of decoding after which states are written; those between compute the last tokens again. 1: in every step. It
   * changes no bit. Default: as is best on the backend.
   */
  readonly replaySteps?: number | undefined;
}

/** What states are stored as where nothing else was asked for. */
export const FLOAT32_STATES: StateStorage = { dtype: 'float32', rounding: 'nearest' };

/** The largest magnitude of a float16 state: what lies beyond becomes this. */
export const MAX_FLOAT16 = 65504;

/** @throws UnsupportedDTypeError */
export function parseStateDType(name: string): StateDTypeSetting {
  const setting = STATE_DTYPE_SETTINGS.find((known) => known === name);
  if (setting !== undefined) return setting;
  throw new UnsupportedDTypeError(
    `Unknown dtype of states '${name}'.`,
    `stateDtype is one of: ${STATE_DTYPE_SETTINGS.join(', ')}.`,
  );
}

/** @throws UnsupportedDTypeError */
export function parseStateRounding(name: string): StateRounding {
  const rounding = STATE_ROUNDINGS.find((known) => known === name);
  if (rounding !== undefined) return rounding;
  throw new UnsupportedDTypeError(
    `Unknown rounding of states '${name}'.`,
    `stateRounding is one of: ${STATE_ROUNDINGS.join(', ')}.`,
  );
}

/** Whether the rounding of states depends on where tokens are. */
export function isStochastic({ dtype, rounding }: StateStorage): boolean {
  return dtype !== 'float32' && rounding === 'stochastic';
}

/** Bytes of a value. */
export function stateBytes(dtype: StateDType): number {
  return dtype === 'float32' ? 4 : 2;
}

/** A state's storage in a word or two; undefined for float32. */
export function storageName({ dtype, rounding }: StateStorage): string | undefined {
  if (dtype === 'float32') return undefined;
  return rounding === 'nearest' ? dtype : `${dtype}-${rounding}`;
}

/** The nearest value of a dtype, ties to even. float16 saturates. NaN stays NaN, so that a broken model is found out. */
export function roundState(value: number, dtype: StateDType): number {
  if (dtype === 'float32') return Math.fround(value);
  return dtype === 'bfloat16' ? roundToBfloat16(value) : saturated(roundToFloat16(value));
}

/** A float16's share of the power of two below it that one of 2^32 random bits moves it by. */
const LESS_THAN_HALF = 2 ** -42 - 2 ** -54;

const scratchF32 = new Float32Array(1);
const scratchU32 = new Uint32Array(scratchF32.buffer);

/**
 * One of the two values next to `value`, each with the probability that makes it the mean. float16 saturates; NaN stays NaN.
 * @param random 32 bits, as an integer: see {@link RandomBits}.
 */
export function roundStateRandomly(value: number, dtype: ShortStateDType, random: number): number {
  if (Number.isNaN(value)) return Number.NaN;
  // What is added to the largest values takes none of them further.
  const held = dtype === 'float16' ? saturated(value) : value;
  scratchF32[0] = held;
  if (dtype === 'bfloat16') {
    scratchU32[0] = (scratchU32[0] + (random >>> 16)) & 0xffff0000;
    return scratchF32[0];
  }
  // The power of two below the value, or the least one with steps of its own. Of a step, a little less than half is added
  // at most, so that what float16 has stays.
  scratchU32[0] &= 0x7f800000;
  const power = Math.max(scratchF32[0], 2 ** -14);
  const moved = Math.fround(held + (random | 0) * LESS_THAN_HALF * power);
  // The sum is large enough that its neighbours are a step away.
  const large = 1.5 * 2 ** 42 * power;
  return moved + large - large;
}

function saturated(value: number): number {
  // Math.min and Math.max let NaN through.
  return Math.max(-MAX_FLOAT16, Math.min(MAX_FLOAT16, value));
}

/**
 * Random bits for rounding, the same wherever a token is computed: by the layer, the token's position in its sequence, the
 * row of the layer's state (head and channel, over all ranks) and the column. Rows of a token have random factors, and columns constant
 * ones, whose products are independent in pairs.
 */
export class RandomBits {
  readonly #token: number;
  readonly #columns: Int32Array;

  /** @param columns of {@link columnFactors} */
  constructor(key: number, position: number, columns: Int32Array) {
    this.#token = mix((key + Math.imul(position, 0x9e3779b1)) | 0);
    this.#columns = columns;
  }

  /** Bits of each column of a row, in a function of the column. */
  ofRow(row: number): (column: number) => number {
    const factor = mix((this.#token + Math.imul(row, 0x85ebca6b)) | 0) | 1;
    return (column) => Math.imul(factor, this.#columns[column]);
  }
}

/** Odd factors of a state's N columns. */
export function columnFactors(N: number): Int32Array {
  return Int32Array.from({ length: N }, (_, n) => mix((n + 0xc2b2ae35) | 0) | 1);
}

import type { Backend } from '../../../src/backends/contract/backend.ts';
import { HostSavedSlot } from '../../../src/backends/contract/slots.ts';
import { type KvCacheDType, roundKeyOrValue } from '../../../src/tensor/kv-cache-dtype.ts';
import { elementCount, type Tensor } from '../../../src/tensor/tensor.ts';
import * as oracle from '../oracle/attention.ts';
import { type Demands, expectAgreement, expectClose, indices, stridedView } from './harness.ts';
import { Inputs } from './inputs.ts';

export interface HeadSizes {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/** How tokens come: the sequences' lengths, blocks of the whole and of the parts, and the most tokens of a part. */
export interface Parts {
  readonly lengths: readonly number[];
  readonly slidingWindow?: number | undefined;
  readonly blockSizes: readonly [number, number];
  readonly mostTokens: number;
  /** Default: float32. */
  readonly dtype?: KvCacheDType | undefined;
}

/** A sequence with all its keys and values, and queries of all its tokens. */
export interface Sequence {
  readonly length: number;
  readonly query: Float32Array;
  readonly keys: Float32Array;
  readonly values: Float32Array;
}

/** Expects that what comes in any parts has the outputs of the whole, and those that the oracle knows. */
export async function expectSameInParts(
  backend: Backend,
  demands: Demands,
  sizes: HeadSizes,
  { lengths, blockSizes, mostTokens, slidingWindow, dtype = 'float32' }: Parts,
): Promise<void> {
  const tolerance = demands.tolerances.dense;
  const sequences = makeSequences(sizes, lengths);
  const whole = new Cache(backend, sizes, sequences, { blockSize: blockSizes[0], seed: 2, slidingWindow, dtype });
  const expected = await whole.step(sequences.map(({ length }) => [0, length]));
  const random = new Inputs(3);
  const cache = new Cache(backend, sizes, sequences, { blockSize: blockSizes[1], seed: 3, slidingWindow, dtype });
  const computed = sequences.map(() => 0);
  const found: Float32Array[][] = sequences.map(() => []);
  while (computed.some((count, s) => count < sequences[s].length)) {
    const ranges = sequences.map(({ length }, s): [number, number] => {
      const end = Math.min(length, computed[s] + (random.boolean() ? 1 : random.integer(0, mostTokens)));
      return [computed[s], end];
    });
    for (const [s, output] of (await cache.step(ranges)).entries()) found[s].push(output);
    for (const [s, [, end]] of ranges.entries()) computed[s] = end;
  }
  for (const [s, parts] of found.entries()) {
    const joined = Float32Array.from(parts.flatMap((part) => [...part]));
    expectAgreement(joined, expected[s], demands, tolerance, `sequence ${s}`);
    const { query } = sequences[s];
    const [keys, values] = [sequences[s].keys, sequences[s].values].map((all) => rounded(all, dtype));
    expectClose(
      joined,
      oracle.attention({ ...sizes, scale: SCALE, slidingWindow, query, keys, values }),
      tolerance,
      `oracle ${s}`,
    );
  }
}

export const SCALE = 0.3;

export function fill(count: number, value: number): Float32Array {
  return new Float32Array(count).fill(value);
}

export function makeSequences({ heads, kvHeads, headDim }: HeadSizes, lengths: readonly number[]): Sequence[] {
  const inputs = new Inputs(heads * headDim);
  return lengths.map((length) => ({
    length,
    query: inputs.normal(length * heads * headDim),
    keys: inputs.normal(length * kvHeads * headDim),
    values: inputs.normal(length * kvHeads * headDim),
  }));
}

/** The nearest values of a dtype. */
export function rounded(values: Float32Array, dtype: KvCacheDType): Float32Array {
  return values.map((value) => roundKeyOrValue(value, dtype));
}

/** A cache of keys or values that are all NaN. */
export function cacheOfNaN(backend: Backend, shape: readonly number[], dtype: KvCacheDType): Tensor {
  const cache = backend.empty(shape, dtype);
  const length = elementCount(shape.slice(1));
  for (let block = 0; block < shape[0]; block++) {
    backend.loadSlot(cache, block, new HostSavedSlot(new Float32Array(length).fill(Number.NaN)));
  }
  return cache;
}

/** A paged cache whose blocks lie in random order, among values that are never read. */
export class Cache {
  readonly #backend: Backend;
  readonly #sizes: HeadSizes;
  readonly #sequences: readonly Sequence[];
  readonly #blockSize: number;
  readonly #slidingWindow: number | undefined;
  readonly #blocks: readonly (readonly number[])[];
  readonly #keyCache: Tensor;
  readonly #valueCache: Tensor;

  constructor(
    backend: Backend,
    sizes: HeadSizes,
    sequences: readonly Sequence[],
    {
      blockSize,
      seed,
      slidingWindow,
      dtype = 'float32',
    }: {
      readonly blockSize: number;
      readonly seed: number;
      readonly slidingWindow?: number | undefined;
      readonly dtype?: KvCacheDType | undefined;
    },
  ) {
    this.#backend = backend;
    this.#sizes = sizes;
    this.#sequences = sequences;
    this.#blockSize = blockSize;
    this.#slidingWindow = slidingWindow;
    const counts = sequences.map(({ length }) => Math.ceil(length / blockSize));
    const count = counts.reduce((a, b) => a + b, 3);
    const free = new Inputs(seed).distinct(count, count);
    this.#blocks = counts.map((blocks) => free.splice(0, blocks));
    const shape = [count, blockSize, sizes.kvHeads, sizes.headDim];
    this.#keyCache = cacheOfNaN(backend, shape, dtype);
    this.#valueCache = cacheOfNaN(backend, shape, dtype);
  }

  /** Each sequence's output for its tokens [begin, end), whose keys and values are written first. */
  async step(ranges: readonly (readonly [begin: number, end: number])[]): Promise<Float32Array[]> {
    const { heads, kvHeads, headDim } = this.#sizes;
    const rows = (of: 'query' | 'keys' | 'values', columns: number): Tensor => {
      const parts = ranges.map(([begin, end], s) => this.#sequences[s][of].subarray(begin * columns, end * columns));
      const all = Float32Array.from(parts.flatMap((part) => [...part]));
      return stridedView(this.#backend, all, all.length / columns, columns);
    };
    const places = ranges.flatMap(([begin, end], s) =>
      Array.from({ length: end - begin }, (_, i) => {
        const position = begin + i;
        return this.#blocks[s][Math.floor(position / this.#blockSize)] * this.#blockSize + (position % this.#blockSize);
      }),
    );
    const caches = { keyCache: this.#keyCache, valueCache: this.#valueCache };
    this.#backend.reshapeAndCache({
      ...caches,
      key: rows('keys', kvHeads * headDim),
      value: rows('values', kvHeads * headDim),
      slotMapping: indices(this.#backend, places),
    });
    const starts = [0];
    for (const [begin, end] of ranges) starts.push((starts.at(-1) ?? 0) + end - begin);
    const width = Math.max(...this.#blocks.map(({ length }) => length));
    const out = this.#backend.pagedAttention({
      ...caches,
      query: rows('query', heads * headDim),
      queryStartLoc: indices(this.#backend, starts),
      contextLens: indices(
        this.#backend,
        ranges.map(([, end]) => end),
      ),
      blockTables: indices(
        this.#backend,
        this.#blocks.flatMap((blocks) => Array.from({ length: width }, (_, i) => blocks[i] ?? -1)),
      ),
      ...{ scale: SCALE, slidingWindow: this.#slidingWindow },
    });
    const values = await this.#backend.read(out);
    const columns = heads * headDim;
    return ranges.map((_, s) => values.slice(starts[s] * columns, starts[s + 1] * columns));
  }
}

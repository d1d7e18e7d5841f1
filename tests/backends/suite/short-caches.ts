import { describe, expect, test } from 'vitest';
import { HostSavedSlot } from '../../../src/backends/contract/slots.ts';
import { ArgumentError } from '../../../src/errors.ts';
import { isFp8, KV_CACHE_DTYPES, roundKeyOrValue, type ShortKvCacheDType } from '../../../src/tensor/kv-cache-dtype.ts';
import { type Demands, expectSame, indices, type MakeBackend, useBackend } from './harness.ts';
import { Inputs } from './inputs.ts';
import { cacheOfNaN, expectSameInParts, type HeadSizes } from './paged-cache.ts';

const DTYPES = KV_CACHE_DTYPES.filter((dtype): dtype is ShortKvCacheDType => dtype !== 'float32');

const SIZES: readonly HeadSizes[] = [
  { heads: 4, kvHeads: 2, headDim: 16 },
  { heads: 3, kvHeads: 3, headDim: 21 },
  { heads: 3, kvHeads: 1, headDim: 64 },
  { heads: 1, kvHeads: 1, headDim: 136 },
];

/** Tests of keys and values of 16 and 8 bits, whose rounding is that of `roundKeyOrValue`. */
export function describeShortCaches(makeBackend: MakeBackend, demands: Demands): void {
  describe.each(DTYPES)('keys and values in %s', (dtype) => {
    const backend = useBackend(makeBackend);

    test.each([1, 5, 16, 20])('are rounded to the nearest when they are written, in heads of %d', async (headDim) => {
      const all = edgeValues(dtype);
      const T = Math.ceil(all.length / headDim);
      const keys = new Float32Array(T * headDim);
      keys.set(all);
      const values = keys.map((value) => -value);
      const shape = [Math.ceil(T / 4) + 1, 4, 1, headDim];
      const [keyCache, valueCache] = [cacheOfNaN(backend(), shape, dtype), cacheOfNaN(backend(), shape, dtype)];
      const slotMapping = indices(
        backend(),
        Array.from({ length: T }, (_, t) => 4 + t),
      );
      const [key, value] = [keys, values].map((rows) => backend().tensor(rows, [T, headDim]));
      backend().reshapeAndCache({ key, value, keyCache, valueCache, slotMapping });
      for (const [cache, rows] of [
        [keyCache, keys],
        [valueCache, values],
      ] as const) {
        expect(cache.dtype).toBe(dtype);
        const found = (await backend().read(cache)).slice(4 * headDim, (4 + T) * headDim);
        // Whether a 0 has a sign is left open.
        expectSame(
          found.map((v) => v + 0),
          rows.map((v) => roundKeyOrValue(v, dtype) + 0),
          'values',
        );
      }
    });

    test.each(SIZES)('give the same in any split, $heads heads over $kvHeads of $headDim', async (sizes) => {
      const parts = { lengths: [9, 41, 22], blockSizes: [32, 12], mostTokens: 15, dtype } as const;
      await expectSameInParts(backend(), demands, sizes, parts);
      await expectSameInParts(backend(), demands, sizes, { ...parts, lengths: [34], slidingWindow: 13 });
    });

    test('lie in blocks that are copied, saved and loaded', async () => {
      const shape = [3, 4, 2, 7];
      const length = 4 * 2 * 7;
      const cache = cacheOfNaN(backend(), shape, dtype);
      const values = new Inputs(3).normal(length, 0, 30);
      const expected = values.map((value) => roundKeyOrValue(value, dtype) + 0);
      const block = async (b: number) => (await backend().saveSlot(cache, b).read()).map((value) => value + 0);
      backend().loadSlot(cache, 1, new HostSavedSlot(values.slice()));
      expectSame(await block(1), expected, 'loaded');
      backend().copySlot(cache, 1, 0);
      expectSame(await block(0), expected, 'copied');
      const saved = backend().saveSlot(cache, 0);
      // The reference keeps float32.
      const isShort = !(saved instanceof HostSavedSlot);
      if (isShort) expect(saved.byteLength).toBeLessThanOrEqual(4 * length * (isFp8(dtype) ? 0.3 : 0.6));
      const other = cacheOfNaN(backend(), shape, dtype);
      backend().loadSlot(other, 2, saved);
      expectSame(
        (await backend().read(other)).slice(2 * length).map((v) => v + 0),
        expected,
        'in another cache',
      );
      // Blocks of another dtype go in as values.
      const host = new HostSavedSlot(await saved.read());
      const wide = backend().empty(shape);
      backend().loadSlot(wide, 0, host);
      expectSame(
        (await backend().saveSlot(wide, 0).read()).map((v) => v + 0),
        expected,
        'in float32',
      );
    });

    test('are of one dtype', () => {
      const shape = [1, 4, 1, 8];
      const caches = { keyCache: backend().empty(shape, dtype), valueCache: backend().empty(shape) };
      const x = backend().zeros([1, 8]);
      const slotMapping = indices(backend(), [0]);
      expect(() => backend().reshapeAndCache({ key: x, value: x, ...caches, slotMapping })).toThrow(ArgumentError);
    });
  });
}

/** Numbers of a dtype, those halfway between two and next to these, the largest ones, and what is no number. */
function edgeValues(dtype: ShortKvCacheDType): Float32Array<ArrayBuffer> {
  const random = new Inputs(5);
  const exponents = Array.from({ length: 300 }, () => 2 ** random.integer(-30, 20));
  const numbers = Float32Array.from(exponents, (power) =>
    roundKeyOrValue(power * (1 + random.integer(0, 255) / 256), dtype),
  );
  const steps: Readonly<Record<ShortKvCacheDType, number>> = {
    float16: 2 ** -11,
    bfloat16: 2 ** -8,
    fp8_e4m3: 2 ** -4,
    fp8_e5m2: 2 ** -3,
  };
  const halfway = numbers.map((value) => value * (1 + steps[dtype]));
  const special = [
    0,
    2 ** -10,
    3 * 2 ** -11,
    2 ** -17,
    2 ** -25,
    1e-38,
    448,
    464,
    465,
    480,
    57344,
    61440,
    65504,
    65519,
    65520,
  ];
  const large = [1e6, 3e38, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN];
  const nudged = [...halfway].flatMap((value) => [value, value * (1 + 2 ** -20), value * (1 - 2 ** -20)]);
  const nans = new Float32Array(Uint32Array.of(0x7fffffff, 0xffffffff, 0x7f800001).buffer);
  return Float32Array.from([...numbers, ...nudged, ...special, ...large, ...nans]);
}

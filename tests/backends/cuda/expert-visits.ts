import { assert, describe, expect, test } from 'vitest';
import type { Backend } from '../../../src/backends/contract/backend.ts';
import type { ExpertWeights } from '../../../src/backends/contract/experts.ts';
import type { LinearWeight } from '../../../src/backends/contract/linear.ts';
import { BLOCK_FORMATS, isBlockFormat, type MatrixDType } from '../../../src/tensor/block-formats.ts';
import type { Tensor } from '../../../src/tensor/tensor.ts';
import { SeededRandom } from '../../layers/seeded.ts';
import { blockValues, someBlocks } from '../../tensor/blocks.ts';
import { expectClose, expectSame, type MakeBackend, useBackend } from '../suite/harness.ts';

const EXPERTS = 6;
/** Columns of the rows, and of the experts between their products: whole blocks of all formats. */
const [COLUMNS, WIDTH] = [512, 256];
/** Formats of the first and of the second matrices: each kind of product, also after one of another kind. */
const FORMATS = [
  ['float16', 'float16'],
  ['bfloat16', 'bfloat16'],
  ['INT4_G32', 'INT4_G32'],
  ['Q4_K', 'Q4_K'],
  ['Q4_K', 'Q6_K'],
  ['float32', 'Q8_0'],
] as const satisfies readonly (readonly [MatrixDType, MatrixDType])[];

/** The other formats of blocks. */
const OTHER_BLOCKS = Object.keys(BLOCK_FORMATS)
  .filter(isBlockFormat)
  .filter((format) => !FORMATS.some((some) => some.some((other) => other === format)));

interface Routed {
  readonly name: string;
  /** Rows, and whether a row visits an expert. */
  readonly T: number;
  readonly visits: (t: number, e: number) => boolean;
}

const ROUTED: readonly Routed[] = [
  { name: 'few visits, and an expert without any', T: 9, visits: (t, e) => e !== 2 && (t + e) % 3 === 0 },
  { name: 'all rows to one expert, but one that visits none', T: 70, visits: (t, e) => e === 3 && t !== 5 },
  { name: 'some experts with many more rows than others', T: 40, visits: (t, e) => t % (e + 1) === 0 },
];

/** Tests that a row's experts give it the same bits whoever else visits them, by whichever kernels they are computed. */
export function describeExpertVisits(makeBackend: MakeBackend): void {
  describe("experts' visits", () => {
    const backend = useBackend(makeBackend);

    test.each(FORMATS)('%s and %s', async (upFormat, downFormat) => {
      const made = backend();
      const random = new SeededRandom(3);
      const { experts, values } = someExperts(made, EXPERTS, [upFormat, downFormat], random);
      for (const { name, T, visits } of ROUTED) {
        const rows = random.floats(T * COLUMNS);
        const routes = Float32Array.from({ length: T * EXPERTS }, (_, i) =>
          visits(Math.floor(i / EXPERTS), i % EXPERTS) ? 0.25 + random.next() : 0,
        );
        const run = async (count: number, place: (data: Float32Array, columns: number) => Float32Array) => {
          const of = (data: Float32Array, columns: number) => made.tensor(place(data, columns), [count, columns]);
          return made.read(made.fusedMoe(of(rows, COLUMNS), of(routes, EXPERTS), experts, 'silu', true));
        };
        const whole = await run(T, (data) => data);
        const row = (data: Float32Array, columns: number, t: number) => data.slice(t * columns, (t + 1) * columns);
        for (const t of [0, 5, T - 1]) {
          const alone = await run(1, (data, columns) => row(data, columns, t));
          expectSame(alone, row(whole, COLUMNS, t), `${name}, row ${t} alone`);
        }
        const few = await run(3, (data, columns) => data.slice(4 * columns, 7 * columns));
        expectSame(few, whole.subarray(4 * COLUMNS, 7 * COLUMNS), `${name}, three rows`);
        const expected = expectedRow(row(rows, COLUMNS, T - 1), row(routes, EXPERTS, T - 1), values);
        const most = expected.reduce((found, v) => Math.max(found, Math.abs(v)), 1e-3);
        const precision = upFormat === 'bfloat16' ? 1e-3 : 2e-5;
        expectClose(row(whole, COLUMNS, T - 1), expected, { relative: 0, absolute: precision * most }, name);
      }
    });

    test.each(OTHER_BLOCKS)('%s, many rows and one', async (format) => {
      const made = backend();
      const random = new SeededRandom(5);
      const { experts, values } = someExperts(made, 2, [format, format], random);
      const T = 10;
      const [rows, routes] = [random.floats(T * COLUMNS), random.floats(2 * T, 0.25, 1)];
      const run = async (count: number) => {
        const x = made.tensor(rows.slice(0, count * COLUMNS), [count, COLUMNS]);
        const routing = made.tensor(routes.slice(0, 2 * count), [count, 2]);
        return made.read(made.fusedMoe(x, routing, experts, 'silu', true));
      };
      const whole = (await run(T)).subarray(0, COLUMNS);
      expectSame(await run(1), whole, 'alone');
      const expected = expectedRow(rows.subarray(0, COLUMNS), routes.subarray(0, 2), values);
      const most = expected.reduce((found, v) => Math.max(found, Math.abs(v)), 1e-3);
      expectClose(whole, expected, { relative: 0, absolute: 2e-5 * most }, 'row');
    });

    test('routing that is chosen here, in which a row that is no number leaves others as they are', async () => {
      const made = backend();
      const random = new SeededRandom(4);
      const { experts } = someExperts(made, EXPERTS, ['float16', 'float16'], random);
      const T = 12;
      const options = { topK: 2, scoring: 'softmax', renormalize: true } as const;
      const run = async (x: Tensor, logits: Tensor) =>
        made.read(made.fusedMoe(x, made.topKRouting(logits, options), experts, 'silu', true));
      const [rows, scores] = [random.floats(T * COLUMNS), random.floats(T * EXPERTS)];
      const x = made.tensor(rows, [T, COLUMNS]);
      const whole = await run(x, made.tensor(scores, [T, EXPERTS]));
      const alone = await run(
        made.sliceRows(x, 3, 4),
        made.tensor(scores.slice(3 * EXPERTS, 4 * EXPERTS), [1, EXPERTS]),
      );
      expectSame(alone, whole.slice(3 * COLUMNS, 4 * COLUMNS), 'alone');
      const odd = scores.slice();
      odd.fill(Number.NaN, 2 * EXPERTS, 3 * EXPERTS);
      const others = await run(x, made.tensor(odd, [T, EXPERTS]));
      expect(others.subarray(2 * COLUMNS, 3 * COLUMNS).every(Number.isNaN)).toBe(true);
      others.set(whole.subarray(2 * COLUMNS, 3 * COLUMNS), 2 * COLUMNS);
      expectSame(others, whole, 'others');
    });
  });
}

/** Experts, and the values that their matrices have. */
function someExperts(
  backend: Backend,
  count: number,
  [upFormat, downFormat]: readonly [MatrixDType, MatrixDType],
  random: SeededRandom,
) {
  const experts: ExpertWeights[] = [];
  const values: Record<keyof ExpertWeights, Float32Array>[] = [];
  for (let e = 0; e < count; e++) {
    const up = someMatrix(backend, [2 * WIDTH, COLUMNS], upFormat, random);
    const down = someMatrix(backend, [COLUMNS, WIDTH], downFormat, random);
    experts.push({ up: up.weight, down: down.weight });
    values.push({ up: up.values, down: down.values });
  }
  return { experts, values };
}

function someMatrix(
  backend: Backend,
  [outputs, inputs]: readonly [number, number],
  format: MatrixDType,
  random: SeededRandom,
): { readonly weight: LinearWeight; readonly values: Float32Array } {
  if (!isBlockFormat(format)) {
    // Numbers that every dtype of these holds.
    const values = random.floats(outputs * inputs).map((v) => Math.round(100 * v) / 128);
    return { weight: backend.linearWeight(values, outputs, inputs, format), values };
  }
  const bytes = someBlocks(format, outputs, inputs, random.integer(1, 1000));
  const writer = backend.blockWeightWriter?.(outputs, inputs, format);
  assert(writer !== undefined, 'the backend keeps no blocks');
  writer.writeBlocks(0, bytes);
  return { weight: writer.finish(), values: blockValues(format, bytes) };
}

/** In float64. */
function expectedRow(
  x: Float32Array,
  routes: Float32Array,
  experts: readonly Record<keyof ExpertWeights, Float32Array>[],
): Float64Array {
  const out = new Float64Array(COLUMNS);
  for (const [e, { up, down }] of experts.entries()) {
    if (routes[e] === 0) continue;
    const hidden = products(x, up, 2 * WIDTH);
    const activated = Float64Array.from({ length: WIDTH }, (_, i) => {
      return (hidden[i] / (1 + Math.exp(-hidden[i]))) * hidden[WIDTH + i];
    });
    products(activated, down, COLUMNS).forEach((v, c) => {
      out[c] += routes[e] * v;
    });
  }
  return out;
}

function products(x: ArrayLike<number>, weight: Float32Array, outputs: number): Float64Array {
  return Float64Array.from({ length: outputs }, (_, n) => {
    let sum = 0;
    for (let k = 0; k < x.length; k++) sum += x[k] * weight[n * x.length + k];
    return sum;
  });
}

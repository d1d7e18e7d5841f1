import { describe, expect, test } from 'vitest';
import { HostSavedSlot } from '../../../src/backends/contract/slots.ts';
import { singleProcess } from '../../../src/distributed/process-group.ts';
import { expectSame, type MakeBackend, useBackend } from './harness.ts';
import { Inputs } from './inputs.ts';

/** Tests how arrays are made, viewed, copied and read, and the collectives of a group of one. */
export function describeArrays(makeBackend: MakeBackend): void {
  describe('arrays', () => {
    const backend = useBackend(makeBackend);
    const counted = (count: number) => Float32Array.from({ length: count }, (_, i) => i);

    test('tensor copies its data and read returns a copy', async () => {
      const data = counted(6);
      const x = backend().tensor(data, [2, 3]);
      expect(x.shape).toEqual([2, 3]);
      expect(x.dtype).toBe('float32');
      data.fill(-1);
      const first = await backend().read(x);
      expectSame(first, counted(6), 'x');
      first.fill(-2);
      expectSame(await backend().read(x), counted(6), 'x after the copy changed');
      expect(backend().tensor(Int32Array.of(1, 2), [2]).dtype).toBe('int32');
    });

    test('keeps every bit pattern of a float32: subnormal numbers, infinities, NaN and -0', async () => {
      const values = Float32Array.of(
        1e-45,
        -1e-40,
        Number.POSITIVE_INFINITY,
        Number.NEGATIVE_INFINITY,
        Number.NaN,
        -0,
        3.4e38,
      );
      expectSame(await backend().read(backend().tensor(values, [7])), values, 'values');
    });

    test.each([[[3]], [[2, 3]], [[2, 3, 4]], [[2, 3, 4, 5]], [[0, 4]], [[3, 0]]])(
      'zeros of shape %j',
      async (shape) => {
        const zeros = backend().zeros(shape);
        expect(zeros.shape).toEqual(shape);
        const count = shape.reduce((product, extent) => product * extent, 1);
        expectSame(await backend().read(zeros), new Float32Array(count), 'zeros');
      },
    );

    test.each([[[1, 6]], [[5, 6]], [[70, 8]]])('parts of a scope read what the one before gave, %j', async (shape) => {
      const ones = backend().tensor(new Float32Array(shape[0] * shape[1]).fill(1), shape);
      const read = backend().scope(() => {
        const first = backend().add(ones, ones);
        let x = first;
        for (let i = 0; i < 5; i++) {
          const input = x;
          x = backend().part(shape, () => {
            const double = backend().mulScalar(input, 2);
            backend().scope(() => backend().add(double, double));
            return backend().add(double, backend().add(input, first));
          });
        }
        return backend().read(backend().add(x, first));
      });
      // Each part makes 3 x + 2 of x.
      expectSame(await read, new Float32Array(ones.shape[0] * ones.shape[1]).fill(730), 'x');
    });

    test('parts outside of scopes leave everything where it is, of any size', async () => {
      for (const rows of [2, 9]) {
        const x = backend().tensor(counted(4 * rows), [rows, 4]);
        const products = [1, 2, 3].map((factor) => backend().part([rows, 4], () => backend().mulScalar(x, factor)));
        for (const [i, product] of products.entries()) {
          const expected = counted(4 * rows).map((value) => (i + 1) * value);
          expectSame(await backend().read(product), expected, `part ${i}`);
        }
      }
    });

    test('splitColumns gives each part, and parts of parts', async () => {
      const x = backend().tensor(counted(12), [2, 6]);
      const [a, b, c, d] = backend().splitColumns(x, [1, 3, 0, 2]);
      expect([a, b, c, d].map((part) => part.shape)).toEqual([
        [2, 1],
        [2, 3],
        [2, 0],
        [2, 2],
      ]);
      expectSame(await backend().read(a), [0, 6], 'a');
      expectSame(await backend().read(b), [1, 2, 3, 7, 8, 9], 'b');
      expectSame(await backend().read(c), [], 'c');
      expectSame(await backend().read(d), [4, 5, 10, 11], 'd');
      expectSame(await backend().read(backend().splitColumns(b, [2, 1])[1]), [3, 9], 'part of a part');
    });

    test('sliceRows gives each part, of views and of more dimensions too', async () => {
      const x = backend().tensor(counted(12), [4, 3]);
      expectSame(await backend().read(backend().sliceRows(x, 1, 3)), [3, 4, 5, 6, 7, 8], 'rows 1 and 2');
      expectSame(await backend().read(backend().sliceRows(x, 2, 2)), [], 'no rows');
      expectSame(await backend().read(backend().sliceRows(x, 4, 4)), [], 'no rows at the end');
      const column = backend().splitColumns(x, [1, 2])[1];
      expectSame(await backend().read(backend().sliceRows(column, 2, 4)), [7, 8, 10, 11], 'rows of columns');
      const cube = backend().tensor(counted(12), [3, 2, 2]);
      expect(backend().sliceRows(cube, 1, 2).shape).toEqual([1, 2, 2]);
      expectSame(await backend().read(backend().sliceRows(cube, 1, 2)), [4, 5, 6, 7], 'of a cube');
    });

    test('reshape keeps the elements, of strided views too', async () => {
      const x = backend().tensor(counted(14), [2, 7]);
      const view = backend().reshape(backend().splitColumns(x, [1, 6])[1], [2, 3, 2]);
      expect(view.shape).toEqual([2, 3, 2]);
      expectSame(await backend().read(view), [1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13], 'view');
      expectSame(await backend().read(backend().reshape(view, [2, 6])), await backend().read(view), 'back again');
    });

    test('what is written through a view of a view appears in the array', async () => {
      const whole = backend().tensor(counted(12), [3, 4]);
      const out = backend().sliceRows(backend().splitColumns(whole, [2, 2])[1], 1, 3);
      backend().causalConv1dFn({
        x: backend().tensor(Float32Array.of(50, 51, 52, 53), [2, 2]),
        weight: backend().tensor(Float32Array.of(1, 1), [2, 1]),
        convStates: backend().zeros([1, 2, 0]),
        queryStartLoc: backend().tensor(Int32Array.of(0, 2), [2]),
        out,
      });
      expectSame(await backend().read(whole), [0, 1, 2, 3, 4, 5, 50, 51, 8, 9, 52, 53], 'whole');
    });

    test('copySlot copies one slot and nothing else', async () => {
      const states = new Inputs(1).normal(5 * 3 * 2 * 4);
      const state = backend().tensor(states, [5, 3, 2, 4]);
      backend().copySlot(state, 1, 4);
      states.copyWithin(4 * 24, 24, 2 * 24);
      expectSame(await backend().read(state), states, 'after 1 to 4');
      backend().copySlot(state, 3, 3);
      expectSame(await backend().read(state), states, 'after 3 to 3');
    });

    test('a saved slot is a copy, and loads into any slot and no other', async () => {
      const states = new Inputs(4).normal(5 * 3 * 2 * 4);
      const state = backend().tensor(states, [5, 3, 2, 4]);
      const saved = backend().saveSlot(state, 1);
      const values = states.slice(24, 2 * 24);
      expect(saved.byteLength).toBe(4 * 24);
      backend().copySlot(state, 0, 1);
      expectSame(await saved.read(), values, 'saved');
      backend().loadSlot(state, 3, saved);
      backend().loadSlot(state, 4, new HostSavedSlot(values.slice()));
      const other = backend().saveSlot(state, 2, saved);
      expectSame(await other.read(), states.slice(2 * 24, 3 * 24), 'in the memory of another');
      states.copyWithin(24, 0, 24);
      states.set(values, 3 * 24);
      states.set(values, 4 * 24);
      expectSame(await backend().read(state), states, 'state');
    });

    test('collectives of one rank change nothing', async () => {
      const values = new Inputs(2).normal(3 * 4);
      const x = () => backend().tensor(values, [3, 4]);
      expectSame(await backend().read(backend().allReduce([x()], singleProcess)[0]), values, 'allReduce');
      const gathered = backend().allGatherColumns(x(), singleProcess);
      expect(gathered.shape).toEqual([3, 4]);
      expectSame(await backend().read(gathered), values, 'allGatherColumns');
      const view = backend().splitColumns(x(), [1, 3])[1];
      expectSame(
        await backend().read(backend().allReduce([view], singleProcess)[0]),
        values.filter((_, i) => i % 4 > 0),
        'view',
      );
    });
  });
}

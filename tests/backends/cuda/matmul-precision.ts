import { describe, test } from 'vitest';
import type { Backend } from '../../../src/backends/contract/backend.ts';
import { roundToBfloat16, roundToFloat16 } from '../../../src/tensor/float16.ts';
import type { MatmulPrecision } from '../../../src/tensor/matmul-precision.ts';
import { SeededRandom } from '../../layers/seeded.ts';
import { expectSame } from '../suite/harness.ts';

/**
 * Tests that products of `medium` precision take activations as rounded to 16 bits, and nothing else: with such ones they have
 * the bits of `high`, in whichever number of rows.
 */
export function describeMatmulPrecision(
  makeBackend: (matmulPrecision: MatmulPrecision) => Promise<Backend>,
  { inputs = 136, outputs = 70, rows = [1, 7, 9, 20, 65] } = {},
): void {
  describe('products of medium precision', () => {
    test.each([
      ['float16', roundToFloat16],
      ['bfloat16', roundToBfloat16],
      ['int8', roundToFloat16],
      ['int4', roundToFloat16],
    ] as const)('take activations in 16 bits: %s', async (dtype, round) => {
      const [high, medium] = await Promise.all([makeBackend('high'), makeBackend('medium')]);
      const random = new SeededRandom(1);
      const values = random.floats(outputs * inputs);
      const most = Math.max(...rows);
      // Float16 has all its digits for numbers that are not tiny.
      const x = random.floats(most * inputs).map((value) => value + Math.sign(value));
      const weights = [high, medium].map((backend) => backend.linearWeight(values, outputs, inputs, dtype));
      for (const T of rows) {
        const own = x.subarray(0, T * inputs);
        const [expected, found] = await Promise.all([
          high.read(high.linear(high.tensor(own.map(round), [T, inputs]), weights[0])),
          medium.read(medium.linear(medium.tensor(own, [T, inputs]), weights[1])),
        ]);
        expectSame(found, expected, `${T} rows`);
      }
      high.dispose?.();
      medium.dispose?.();
    });
  });
}

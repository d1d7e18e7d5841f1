import { expect, test } from 'vitest';
import { deviceForm } from '../../../src/engine/ranks/device-form.ts';

test("a processor's form goes by the products that were asked for", async () => {
  const [dot, pairs, words] = await Promise.all(
    (['dot', 'pairs', 'words'] as const).map((form) => deviceForm('cpu', form)),
  );
  expect(pairs).toBe(dot);
  // Without relaxed SIMD nothing is fused.
  expect(words).not.toBe(dot);
});

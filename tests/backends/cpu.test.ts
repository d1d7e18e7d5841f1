import { expect, test } from 'vitest';
import { KERNEL_VARIANTS } from '../../src/backends/cpu/kernels/product-forms.ts';
import { describeCpu } from './cpu-suite.ts';

describeCpu('relaxed-simd');

test('the other variant has tests too', () => {
  expect(KERNEL_VARIANTS).toEqual(['relaxed-simd', 'simd']);
});

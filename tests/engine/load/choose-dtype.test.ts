import { describe, expect, test } from 'vitest';
import { chooseDType, type DTypeFacts } from '../../../src/engine/load/choose-dtype.ts';

const GB = 1e9;

/** A model of so many weights, most of them in matrices. */
function facts(weights: number, others: Partial<DTypeFacts> = {}): DTypeFacts {
  const shapes = [[weights / 1024, 1024], [1024], [1024, 1, 4]];
  return { device: 'cpu', ranks: 2, shapes, stored: 'bfloat16', areBlocksKept: false, ...others };
}

describe('auto', () => {
  test.each([
    ['a small model', facts(7e6), 'stored', /14 MB/],
    ['a model of 130 M', facts(130e6), 'int8', /134 MB instead of 260 MB as bfloat16/],
    ['one that is stored as float32', facts(130e6, { stored: 'float32' }), 'int8', /520 MB as float32/],
    ['blocks of a file', facts(3e9, { areBlocksKept: true }), 'stored', /quantised/],
    ['a GPU', facts(3e9, { device: 'webgpu' }), 'stored', /webgpu/],
    ['the reference', facts(3e9, { device: 'reference' }), 'stored', /reference/],
    ['as much as two threads hold', facts(6e9), 'int8', /MB/],
    ['more than they hold', facts(8e9), 'int4', /int8 would take 8250 MB/],
    ['more threads', facts(8e9, { ranks: 4 }), 'int8', /MB/],
  ] as const)('%s', (_, given, dtype, reason) => {
    expect(chooseDType('auto', given, 64 * GB)).toEqual({ dtype, reason: expect.stringMatching(reason) });
  });

  test.each([
    [64 * GB, 'int8'],
    [4 * GB, 'int4'],
    [Number.POSITIVE_INFINITY, 'int8'],
  ] as const)('3 billion weights on a machine of %d bytes: %s', (memory, dtype) => {
    expect(chooseDType('auto', facts(3e9), memory).dtype).toBe(dtype);
  });
});

test.each(['stored', 'float32', 'int4'] as const)('%s stays what was asked for', (asked) => {
  expect(chooseDType(asked, facts(130e6), GB)).toEqual({ dtype: asked, reason: 'It was asked for.' });
});

import { describe, expect, test } from 'vitest';
import { BLOCK_FORMATS, type BlockFormat, nonFiniteBlock } from '../../src/tensor/block-formats.ts';
import { SeededRandom } from '../layers/seeded.ts';
import { runs } from '../runs.ts';
import { blockValues, someBlocks } from './blocks.ts';

const FORMATS = Object.keys(BLOCK_FORMATS) as BlockFormat[];
/** Formats whose values are products that float32 may not hold. */
const SCALED = FORMATS.filter((format) => BLOCK_FORMATS[format].scales.length === 0);

describe.each(FORMATS)('%s', (format) => {
  const { blockBytes, blockValues: size } = BLOCK_FORMATS[format];

  test('ordinary blocks are finite', () => {
    const blocks = someBlocks(format, 4, 1024, 1);
    expect(nonFiniteBlock(format, blocks)).toBe(-1);
    expect(blockValues(format, blocks).every(Number.isFinite)).toBe(true);
  });

  test('the first block with a value that is not finite is found, wherever the bytes begin', () => {
    const random = new SeededRandom(2);
    for (let round = 0; round < runs(300); round++) {
      const shifted = new Uint8Array(1 + 40 * blockBytes).subarray(1);
      shifted.set(someBlocks(format, 1, 40 * size, round));
      // Scales and codes of any bits, of infinities more than is usual.
      for (let i = 0; i < 3; i++) {
        const begin = blockBytes * random.integer(0, 39);
        shifted[begin + random.integer(0, Math.min(blockBytes - 1, 14))] =
          random.next() < 0.5 ? 0xff : random.integer(0, 255);
        if (random.next() < 0.5) shifted.set([0x7f, 0x7e, 0xfd, 0x80].slice(random.integer(0, 3)), begin);
      }
      const at = nonFiniteBlock(format, shifted);
      const wrong = blockValues(format, shifted).findIndex((value) => !Number.isFinite(value));
      if (wrong === -1 || !SCALED.includes(format)) continue;
      expect(at).toBeGreaterThanOrEqual(0);
      expect(at).toBeLessThanOrEqual(Math.floor(wrong / size));
      // Scales that are too large for the largest code are refused, whatever the codes are.
      if (format === 'MXFP4') expect(at).toBe(Math.floor(wrong / size));
    }
  });
});

test('an infinite scale and a zero point that no tool writes are found', () => {
  const blocks = someBlocks('INT4_G32', 1, 256, 3);
  expect(nonFiniteBlock('INT4_G32', blocks)).toBe(-1);
  const infinite = Uint8Array.from(blocks);
  infinite.set([0, 0, 0x80, 0x7f], 80 + 4);
  expect(nonFiniteBlock('INT4_G32', infinite)).toBe(1);
  const far = Uint8Array.from(blocks);
  far[12] = 17;
  expect(nonFiniteBlock('INT4_G32', far)).toBe(0);
});

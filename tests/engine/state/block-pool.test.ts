import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BlockPool } from '../../../src/engine/state/block-pool.ts';
import { IntegrityError } from '../../../src/errors.ts';
import { runs } from '../../runs.ts';

describe('BlockPool', () => {
  test('gives each block to one owner, which may share it, and takes it back from the last', () => {
    const operation = fc.record({ kind: fc.constantFrom('take', 'share', 'release'), at: fc.nat(), count: fc.nat(5) });
    const property = fc.property(fc.array(operation, { maxLength: 80 }), fc.nat(12), (operations, count) => {
      const pool = new BlockPool(count, 4);
      const held: number[][] = [];
      for (const { kind, at, count: wanted } of operations) {
        const chosen = held[at % Math.max(held.length, 1)] ?? [];
        if (kind === 'take') {
          const { numFree } = pool;
          const taken = pool.take(wanted);
          expect(taken?.length ?? -1).toBe(wanted <= numFree ? wanted : -1);
          for (const block of taken ?? []) expect(held.flat()).not.toContain(block);
          if (taken) held.push(taken);
        } else if (kind === 'share') {
          const part = chosen.slice(0, wanted);
          pool.retain(part);
          held.push(part);
        } else if (held.length > 0) {
          pool.release(chosen);
          held.splice(held.indexOf(chosen), 1);
        }
        pool.checkIntegrity(held);
        expect(pool.numFree).toBe(count - new Set(held.flat()).size);
      }
    });
    fc.assert(property, { numRuns: runs(300), seed: 6 });
  });

  test('says which tokens take which number of blocks, none without attention', () => {
    expect([0, 1, 4, 5, 8].map((tokens) => new BlockPool(9, 4).blocksFor(tokens))).toEqual([0, 1, 1, 2, 2]);
    expect(new BlockPool(0, 4).blocksFor(100)).toBe(0);
  });

  test('notices when a free block is shared or released, and owners that are not counted', () => {
    const pool = new BlockPool(3, 4);
    const blocks = pool.take(2) ?? [];
    expect(() => pool.retain([2])).toThrow(IntegrityError);
    expect(() => pool.checkIntegrity([])).toThrow(/owners/);
    expect(() => pool.checkIntegrity([blocks, blocks])).toThrow(/owners/);
    pool.checkIntegrity([blocks]);
    pool.release(blocks);
    expect(() => pool.release(blocks)).toThrow(IntegrityError);
  });
});

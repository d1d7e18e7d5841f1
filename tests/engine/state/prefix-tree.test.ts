import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type PrefixNode, PrefixTree } from '../../../src/engine/state/prefix-tree.ts';
import { runs } from '../../runs.ts';

interface Value {
  readonly tokens: string;
  node?: PrefixNode<Value>;
}

/** Two tokens only, so that sequences share much. */
const anyTokens = fc.array(fc.integer({ min: 0, max: 1 }), { maxLength: 8 });

describe('PrefixTree', () => {
  test('finds the longest beginning that a list of all sequences would', () => {
    const operation = fc.record({ kind: fc.constantFrom('add', 'add', 'remove', 'find'), tokens: anyTokens });
    const property = fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
      const tree = new PrefixTree<Value>();
      const known = new Map<string, Value>();
      for (const { kind, tokens } of operations) {
        const key = tokens.join('');
        const value = known.get(key);
        if (kind === 'add' && tokens.length > 0) {
          const node = tree.node([...tokens, 5, 6], tokens.length);
          expect(node.value).toBe(value);
          node.value ??= { tokens: key, node };
          known.set(key, node.value);
        } else if (kind === 'remove' && value?.node) {
          tree.remove(value.node);
          known.delete(key);
        }
        const beginnings = [...known.values()].filter((other) => key.startsWith(other.tokens));
        const longest = (accept: (value: Value) => boolean) =>
          beginnings.filter(accept).sort((a, b) => b.tokens.length - a.tokens.length)[0];
        expect(tree.longest(tokens, () => true)).toBe(longest(() => true));
        const isShorter = (other: Value) => other.tokens.length < tokens.length;
        expect(tree.longest(tokens, isShorter)).toBe(longest(isShorter));
        expect(new Set(tree.values())).toEqual(new Set(known.values()));
      }
    });
    fc.assert(property, { numRuns: runs(500), seed: 2 });
  });

  test('keeps nothing of what was removed', () => {
    const tree = new PrefixTree<Value>();
    const sequences = [[1, 2, 3], [1, 2], [1, 2, 4, 5], [1, 2, 4, 6], [7]];
    const nodes = sequences.map((tokens) => tree.node(tokens, tokens.length));
    for (const [i, node] of nodes.entries()) node.value = { tokens: `${sequences[i]}` };
    for (const node of nodes) tree.remove(node);
    const root = tree.node([], 0);
    expect(root.children.size).toBe(0);
  });
});

import { describe, expect, test } from 'vitest';
import { declarationProgram, ENTRIES, type Entry, problems, unexportedTypes } from './declarations.ts';

describe('declarations, with the oldest TypeScript that README promises', { timeout: 120_000 }, () => {
  // The server stands on hono, whose declarations want the web's or Node's types.
  test('compile without the DOM library and without types of Node, though libraries are checked', () => {
    expect(problems(declarationProgram(['mamba2', 'mamba2/ops']))).toEqual([]);
  });

  test.each(Object.keys(ENTRIES) as Entry[])('%s: every type that a signature names is exported', (entry) => {
    expect(unexportedTypes(declarationProgram(['mamba2', entry]), entry)).toEqual([]);
  });
});

import { describe, expect, test } from 'vitest';
import { DIST, declarationProgram, ENTRIES, type Entry, problems, unexportedTypes } from './declarations.ts';

describe('declarations, with the oldest TypeScript that README promises', { timeout: 120_000 }, () => {
  // The server stands on hono, whose declarations want the web's or Node's types.
  test('compile without the DOM library and without types of Node, though libraries are checked', () => {
    expect(problems(declarationProgram(['mamba2', 'mamba2/ops']))).toEqual([]);
  });

  // A program may import any one of them alone, with Node's types, which lack names of the web such as WebAssembly.
  test.each(Object.keys(ENTRIES) as Entry[])('%s: declares the names of the web platform by itself', (entry) => {
    const file = declarationProgram([entry]).getSourceFile(DIST + ENTRIES[entry]);
    const files = file?.referencedFiles.map(({ fileName }) => fileName);
    expect(files).toEqual([expect.stringMatching(/types\/globals\.d\.ts$/)]);
    expect(file?.libReferenceDirectives.map(({ fileName }) => fileName)).toEqual(['esnext.disposable']);
  });

  test.each(Object.keys(ENTRIES) as Entry[])('%s: every type that a signature names is exported', (entry) => {
    expect(unexportedTypes(declarationProgram(['mamba2', entry]), entry)).toEqual([]);
  });
});

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import * as errors from '../src/errors.ts';

const library = readFileSync(new URL('../docs/library.md', import.meta.url), 'utf8');

/** The first cells of the tables' rows, as far as they are code. */
function firstCells(text: string): string[] {
  return [...text.matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name);
}

describe('docs/library.md', () => {
  test('lists every error class with its code', () => {
    const listed = [...library.matchAll(/^\| `(\w+Error)` \| `(\w+)` \|/gm)].map(([, name, code]) => [name, code]);
    const classes = Object.values(errors).filter((value) => value !== errors.Mamba2Error);
    const existing = classes.map((ErrorClass) => {
      const { name, code } = Reflect.construct(ErrorClass, ['a problem']) as errors.Mamba2Error;
      return [name, code];
    });
    expect(listed.toSorted()).toEqual(existing.toSorted());
  });

  test("lists a chunk's fields", () => {
    const declared = ['request-output', 'generation-chunk'].flatMap((file) => {
      const source = readFileSync(new URL(`../src/engine/${file}.ts`, import.meta.url), 'utf8');
      const interfaces = [...source.matchAll(/interface (TokenLogprob|OutputToken|GenerationChunk)\b.*?\n\}/gs)];
      return interfaces.flatMap(([text]) => [...text.matchAll(/readonly (\w+)\??:/g)].map(([, name]) => name));
    });
    const listed = firstCells(library.slice(0, library.indexOf('## Errors')));
    expect(listed.toSorted()).toEqual(declared.toSorted());
  });
});

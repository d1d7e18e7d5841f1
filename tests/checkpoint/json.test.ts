import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FolderFiles } from '../../src/checkpoint/files/folder-files.ts';
import { readJsonFile } from '../../src/checkpoint/files/model-files.ts';
import { asObject, parseLenientJson } from '../../src/checkpoint/json/json.ts';
import { JsonParser } from '../../src/checkpoint/json/json-parser.ts';
import { JsonFileError } from '../../src/errors.ts';
import { runs } from '../runs.ts';
import { makeFolder } from './folders.ts';

const parse = (text: string) => parseLenientJson(text, 'config.json');

describe('parseLenientJson', () => {
  test('reads what Python writes', () => {
    const text = `\uFEFF{"a": [Infinity, -Infinity, NaN, 0.0, -1e-5], "b": "Infinity, NaN", "c": {"__float__": "-Infinity"},
      "d": [{"__float__": "NaN"}, {"__float__": "Infinity"}], "e": {"__float__": 1}, "f": {"__float__": "NaN", "x": null}}`;
    expect(parse(text)).toEqual({
      a: [Infinity, -Infinity, NaN, 0, -1e-5],
      b: 'Infinity, NaN',
      c: -Infinity,
      d: [NaN, Infinity],
      e: { __float__: 1 },
      f: { __float__: 'NaN', x: null },
    });
  });

  test('keeps hostile keys as plain keys', () => {
    const value = asObject(parse('{"__proto__": {"polluted": 1}, "constructor": 2}'), 'x');
    expect(Object.keys(value)).toEqual(['__proto__', 'constructor']);
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect('polluted' in {}).toBe(false);
  });

  test.each([
    ['', /ends where a value was expected at line 1, column 1/],
    ['{\n  "a": 1,\n  "b": tru\n}', /expected a value at line 3, column 8, near "tru"/],
    ['{"a" 1}', /expected ':' after the key at line 1, column 6/],
    ['{"a": 1,}', /key in double quotes at line 1, column 9/],
    ['{a: 1}', /key in double quotes/],
    ['[1 2]', /expected ',' or '\]'/],
    ['{"a": 1 "b"}', /expected ',' or '\}'/],
    ['"abc', /no closing quote/],
    ['"a\\qb"', /bad escape/],
    ['"a\nb"', /control character/],
    ['{} {}', /expected the end of the file/],
    ['01', /end of the file/],
    ['--Infinity', /expected a value/],
    ['[1,]', /expected a value/],
    ['['.repeat(5000), /deeper than 200/],
  ])('rejects %j', (text, message) => {
    expect(() => parse(text)).toThrow(JsonFileError);
    expect(() => parse(text)).toThrow(message);
    expect(() => parse(text)).toThrow(/^config\.json/);
  });

  test('agrees with JSON.parse on all JSON', () => {
    fc.assert(
      fc.property(fc.json(), fc.constantFrom(undefined, 2, '\t'), (text, indent) => {
        const formatted = JSON.stringify(JSON.parse(text), null, indent);
        expect(parse(formatted)).toEqual(JSON.parse(formatted));
        // The parser itself, of which only texts that JSON.parse refuses need more.
        const parser = new JsonParser(formatted, { allowNonFinite: true, rejectDuplicateKeys: false });
        expect(parser.parse()).toEqual(JSON.parse(formatted));
      }),
      { seed: 1, numRuns: runs(1000) },
    );
  });

  test('counts levels, not brackets in texts', () => {
    const nested = (levels: number) => `${'[{"a":'.repeat(levels / 2)}1${'}]'.repeat(levels / 2)}`;
    expect(() => parse(nested(202))).toThrow(/deeper than 200/);
    expect(parse(nested(200))).toEqual(JSON.parse(nested(200)));
    const brackets = JSON.stringify(Array(300).fill('[{"\\'));
    expect(parse(brackets)).toEqual(JSON.parse(brackets));
  });

  test('accepts no text that JSON.parse rejects, and fails with its own error only', () => {
    const pieces = fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '"',
      '"a"',
      '\\',
      '1',
      '-',
      '.5',
      'e3',
      'true',
      'null',
      ' ',
      '\n',
      'é',
    );
    fc.assert(
      fc.property(
        fc.array(pieces, { maxLength: 12 }).map((parts) => parts.join('')),
        (text) => {
          let value: unknown;
          try {
            value = parse(text);
          } catch (error) {
            expect(error).toBeInstanceOf(JsonFileError);
            expect(() => JSON.parse(text)).toThrow();
            return;
          }
          expect(value).toEqual(JSON.parse(text));
        },
      ),
      { seed: 2, numRuns: runs(5000) },
    );
  });
});

describe('files', () => {
  test('tells absent from unreadable', async () => {
    const folder = await makeFolder({ 'a.json': { x: 1 }, 'list.json': [1], 'dir/file': '' });
    expect(await readJsonFile(new FolderFiles(folder), 'a.json')).toEqual({ x: 1 });
    expect(await readJsonFile(new FolderFiles(folder), 'none.json')).toBeUndefined();
    await expect(readJsonFile(new FolderFiles(folder), 'list.json')).rejects.toThrow(/holds \[1\] where an object/);
    await expect(readJsonFile(new FolderFiles(folder), 'dir')).rejects.toThrow(JsonFileError);
  });
});

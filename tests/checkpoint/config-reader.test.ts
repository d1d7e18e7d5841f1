import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ConfigReader } from '../../src/checkpoint/json/config-reader.ts';
import type { JsonObject } from '../../src/checkpoint/json/json.ts';
import { ConfigError } from '../../src/errors.ts';
import { runs } from '../runs.ts';

const reader = (json: JsonObject) => new ConfigReader(json, 'config.json');

describe('ConfigReader', () => {
  const config = reader({
    hidden_size: 256,
    expand: 2.0,
    eps: 1e-5,
    half: 0.5,
    bias: false,
    act: 'silu',
    unset: null,
    limit: [0, Infinity],
    spelled: [0, 'Infinity'],
    words: [0, 'many'],
    inf: Infinity,
    nested: { d_state: 64 },
  });

  test('reads typed values', () => {
    expect(config.integer('hidden_size', { min: 1 })).toBe(256);
    expect(config.integer('expand')).toBe(2);
    expect(config.number('eps', { min: 0, max: 1 })).toBe(1e-5);
    expect(config.boolean('bias')).toBe(false);
    expect(config.string('act')).toBe('silu');
    expect(config.oneOf('act', ['silu', 'gelu'])).toBe('silu');
    expect(config.numberPair('limit')).toEqual([0, Infinity]);
    expect(config.numberPair('spelled')).toEqual([0, Infinity]);
    expect(config.section('nested')?.integer('d_state')).toBe(64);
  });

  test('takes the default for absent and null keys', () => {
    for (const key of ['unset', 'absent', 'constructor', '__proto__']) {
      expect(config.has(key)).toBe(false);
      expect(config.integer(key, { default: 0 })).toBe(0);
      expect(config.number(key, { default: 0.5 })).toBe(0.5);
      expect(config.boolean(key, { default: false })).toBe(false);
      expect(config.string(key, { default: '' })).toBe('');
      expect(config.oneOf(key, ['a', 'b'], { default: 'b' })).toBe('b');
      expect(config.numberPair(key, [1, 2])).toEqual([1, 2]);
      expect(config.optionalInteger(key)).toBeUndefined();
      expect(config.optionalNumber(key)).toBeUndefined();
      expect(config.optionalBoolean(key)).toBeUndefined();
      expect(config.optionalString(key)).toBeUndefined();
      expect(config.section(key)).toBeUndefined();
    }
  });

  test('takes the first name that is present', () => {
    expect(config.integer(['unset', 'd_model', 'hidden_size', 'expand'])).toBe(256);
    expect(() => config.integer(['d_model', 'unset'])).toThrow(/'d_model' or 'unset' is missing, expected an integer/);
  });

  test.each<[string, (config: ConfigReader) => unknown, RegExp]>([
    ['a fraction', (c) => c.integer('half'), /'half' is 0.5, expected an integer/],
    ['too small', (c) => c.integer('hidden_size', { min: 300 }), /256, expected an integer of at least 300/],
    ['too large', (c) => c.integer('hidden_size', { max: 3 }), /of at most 3/],
    ['out of range', (c) => c.number('eps', { min: 1, max: 2 }), /from 1 to 2/],
    ['an infinite number', (c) => c.number('inf'), /'inf' is Infinity, expected a number/],
    ['a string for a number', (c) => c.number('act'), /'act' is "silu"/],
    ['a number for a boolean', (c) => c.boolean('expand'), /expected true or false/],
    ['a boolean for a string', (c) => c.string('bias'), /expected a string/],
    ['an unknown choice', (c) => c.oneOf('act', ['relu', 'gelu']), /expected one of 'relu', 'gelu'/],
    ['a number for a pair', (c) => c.numberPair('expand'), /a list of two numbers/],
    ['another word for infinity', (c) => c.numberPair('words'), /a list of two numbers/],
    ['a list for a section', (c) => c.section('limit'), /'limit' is .*expected an object/],
    ['a missing key', (c) => c.string('absent'), /'absent' is missing, expected a string/],
    ['a nested key', (c) => c.section('nested')?.integer('x'), /config\.json, nested: 'x' is missing/],
  ])('rejects %s', (_, read, message) => {
    expect(() => read(config)).toThrow(ConfigError);
    expect(() => read(config)).toThrow(message);
  });

  test('fails with ConfigError only, whatever the file holds', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.option(fc.double(), { nil: undefined }), (value, bound) => {
        const any = reader({ x: value as JsonObject });
        const range = { min: bound };
        for (const read of [
          () => any.integer('x', range),
          () => any.number('x', range),
          () => any.boolean('x'),
          () => any.string('x'),
          () => any.oneOf('x', ['', 'a']),
          () => any.numberPair('x'),
          () => any.section('x'),
        ]) {
          try {
            read();
          } catch (error) {
            expect(error).toBeInstanceOf(ConfigError);
          }
        }
      }),
      { seed: 1, numRuns: runs(1000) },
    );
  });
});

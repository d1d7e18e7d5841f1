import { describe, expect, test } from 'vitest';
import { formatBytes, formatCount, formatTable } from '../../src/cli/terminal/table.ts';

describe('tables', () => {
  test('names to the left, numbers to the right, no space at line ends', () => {
    expect(
      formatTable([
        ['name', 'n'],
        ['a', '100'],
        ['long name', ''],
      ]),
    ).toBe('name         n\na          100\nlong name');
  });

  test.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1.0 kB'],
    [15_142_832, '15.1 MB'],
    [2.5e12, '2.5 TB'],
    [4e15, '4000.0 TB'],
  ])('%d bytes', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  test('counts', () => {
    expect(formatCount(1234567)).toBe('1,234,567');
  });
});

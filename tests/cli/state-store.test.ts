import { readdir } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { makeFolder } from '../checkpoint/folders.ts';
import { runCli } from './run-cli.ts';

const PROMPT =
  'export interface User { id: number; name: string; email: string; createdAt: Date; tags: string[]; '.repeat(3);

describe('--state-store', () => {
  test('a command continues from what another has computed', async () => {
    const folder = await makeFolder({});
    const args = ['generate', PROMPT, '--max-tokens', '8', '--temperature', '0', '--device', 'cpu', '--quiet'];
    const shared = [...args, '--tensor-parallel-size', '1', '--state-store', `file:${folder}`];
    const first = await runCli(shared);
    expect(first.code).toBe(0);
    const places = await readdir(folder);
    expect(places.length).toBeGreaterThan(0);
    const second = await runCli([...shared, '--state-fetch', 'always']);
    expect(second.stdout).toBe(first.stdout);
  });

  test.each([
    [['--state-store', 'ftp://host'], /no state store at 'ftp:'/],
    [['--state-store', 'nowhere'], /not a URL/],
    [['--state-fetch', 'always'], /no effect without --state-store/],
    [['--state-store', 'file:/x', '--state-fetch', 'never'], /expected one of: measured, always/],
  ])('%j is refused', async (args, message) => {
    const { code, stderr } = await runCli(['generate', 'x', ...args]);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
  });
});

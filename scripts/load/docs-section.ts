import { readFile, writeFile } from 'node:fs/promises';

const LOAD = new URL('../../docs/load.md', import.meta.url);

/** Replaces a measured part of docs/load.md; what people wrote around it stays. */
export async function writeSection(name: string, content: string): Promise<void> {
  const [begin, end] = [`<!-- measured: ${name} -->`, `<!-- end of ${name} -->`];
  const text = await readFile(LOAD, 'utf8');
  const [before, rest] = text.split(begin);
  const [, after] = rest?.split(end) ?? [];
  if (after === undefined) throw new Error(`docs/load.md has no section '${name}'`);
  await writeFile(LOAD, [before, begin, '\n\n', content, '\n\n', end, after].join(''));
}

import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bundle } from './bundle.ts';

/** Scripts of a bundle by their names. */
async function scriptsOf(bundled: string): Promise<ReadonlyMap<string, string>> {
  const folder = join(bundled, 'assets');
  const names = (await readdir(folder)).filter((file) => file.endsWith('.js'));
  return new Map(
    await Promise.all(names.map(async (name) => [name, await readFile(join(folder, name), 'utf8')] as const)),
  );
}

const OF_NODE = /(from|import\()\s*["'`]node:/;
/** What a page would fetch as it starts: LangChain imports a module of Node later, where there is one. */
const OF_NODE_AT_ONCE = /(from|import)\s*["'`]node:/;

test('Vite bundles the library with its worker, and nothing of Node', async () => {
  const scripts = await scriptsOf(await bundle());
  expect([...scripts.keys()].some((file) => file.startsWith('rank-worker'))).toBe(true);
  for (const [file, text] of scripts) expect(text, file).not.toMatch(OF_NODE);
});

test.each([
  [
    'ai-sdk',
    "import { generateText } from 'ai'; globalThis.run = (llm) => generateText({ model: made.mamba2(llm), prompt: '' });",
    ['ai'],
  ],
  ['langchain', 'globalThis.run = (llm) => new made.ChatMamba2({ llm }).invoke("");', []],
  ['prompt-api', 'globalThis.run = (llm) => made.promptApi(llm).create();', []],
])('Vite bundles mamba2/%s, and nothing of Node', async (name, use, packages) => {
  const scripts = await scriptsOf(await bundle(`import * as made from 'mamba2/${name}'; ${use}`, packages));
  const ofNode = name === 'langchain' ? OF_NODE_AT_ONCE : OF_NODE;
  for (const [file, text] of scripts) expect(ofNode.exec(text)?.[0], file).toBeUndefined();
});

import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { note } from './notes.ts';

/** First major version with a V8 that can widen pairs of 128-bit instructions. */
const FAST_NODE = 24;

/** Says once per version, to a person at the terminal, that a newer Node computes faster. */
export async function adviseNode(quiet: boolean): Promise<void> {
  const [major] = process.versions.node.split('.');
  if (Number(major) >= FAST_NODE || quiet || !process.stderr.isTTY || process.versions.bun || process.versions.deno)
    return;
  const folder = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'mamba2');
  const told = join(folder, `told-of-node-${FAST_NODE}-on-${major}`);
  if (existsSync(told)) return;
  note(
    `Node ${FAST_NODE} runs models up to twice as quickly as this Node ${process.versions.node}: npx -p node@${FAST_NODE} mamba2 ...`,
    quiet,
  );
  // If the file can't be written the advice is repeated: no reason to fail.
  await mkdir(folder, { recursive: true })
    .then(() => writeFile(told, ''))
    .catch(() => undefined);
}

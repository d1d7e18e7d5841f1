import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** The token to use, or undefined. */
export async function resolveToken(token: string | undefined): Promise<string | undefined> {
  const given = token ?? process.env.HF_TOKEN;
  // An empty HF_TOKEN is how a shell says "none", so it must not become an empty header.
  if (given !== undefined) return given.trim() || undefined;
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache');
  const home = process.env.HF_HOME || join(cache, 'huggingface');
  const path = process.env.HF_TOKEN_PATH || join(home, 'token');
  const saved = await readFile(path, 'utf8').catch(() => '');
  return saved.trim() || undefined;
}

import { storedHubModels } from '../checkpoint/hub/hub-storage.ts';
import { bundledModels } from '../checkpoint/model-source.ts';
import type { CommandEntry } from './commands.ts';
import { flagName } from './options/option.ts';

/**
 * Words that may replace the last word of a command line, which comes without the program's name. Empty where names of
 * files are expected.
 */
export async function candidates(entries: readonly CommandEntry[], words: readonly string[]): Promise<string[]> {
  const known = await knownWords(entries, words);
  return known.filter((word) => word.startsWith(words.at(-1) ?? ''));
}

async function knownWords(entries: readonly CommandEntry[], words: readonly string[]): Promise<readonly string[]> {
  if (words.length <= 1) return entries.map(({ name }) => name);
  const entry = entries.find(({ name }) => name === words[0]);
  if (entry === undefined) return [];
  const { options } = await entry.load();
  const [before, last] = words.slice(-2);
  const option = Object.entries(options).find(
    ([name, { short }]) => before === flagName(name) || before === `-${short}`,
  )?.[1];
  if (option?.placeholder !== undefined) return option.placeholder === 'model' ? models() : (option.choices ?? []);
  if (last.startsWith('-')) return [...Object.keys(options).map(flagName), '--help'];
  return entry.positionals.some((positional) => /\b(model|id)\b/.test(positional)) ? models() : [];
}

async function models(): Promise<readonly string[]> {
  const stored = await storedHubModels();
  const ids = stored.flatMap(({ id, revisions }) => {
    const quantizations = new Set(revisions.flatMap((revision) => revision.quantizations));
    return [id, ...[...quantizations].map((quantization) => `${id}:${quantization}`)];
  });
  return [...bundledModels(), ...ids];
}

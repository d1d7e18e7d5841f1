import { createInterface } from 'node:readline/promises';
import { parseHubName } from '../../checkpoint/hub/hub-name.ts';
import { removeHubModel, storedHubModels } from '../../checkpoint/hub/hub-storage.ts';
import { defineCommand } from '../options/command.ts';
import { flag } from '../options/option.ts';
import { UsageError } from '../options/usage-error.ts';
import { print } from '../terminal/standard-output.ts';
import { formatBytes } from '../terminal/table.ts';

/** `mamba2 rm` */
export const remove = defineCommand({
  details: [
    'The id is org/name for all of a model, org/name@revision for one revision and the files that no other one has, or',
    'org/name:Q4_K_M for one of its models in GGUF.',
    'Other folders are never touched. On a terminal it asks for confirmation.',
  ].join(' '),
  options: { yes: flag('Do not ask', 'y') },
  examples: ['rm org/name', 'rm org/name@v1.0 --yes', 'rm org/name-GGUF:Q4_K_M'],
  run: async ({ yes }, [given]) => {
    // A name of another form is refused with the words of the hub.
    const { repoId: id, ...part } = parseHubName(given) ?? { repoId: given };
    if (!yes && !(await confirm(id, given))) {
      await print('Nothing was removed.\n');
      return 1;
    }
    const freed = await removeHubModel(id, part);
    await print(`Removed ${given}: ${formatBytes(freed)}.\n`);
    return 0;
  },
});

/** @throws UsageError where there is no terminal to ask on. */
async function confirm(id: string, given: string): Promise<boolean> {
  const found = (await storedHubModels()).find((model) => model.id === id);
  // Removing says what is wrong.
  if (found === undefined) return true;
  if (!process.stdin.isTTY) throw new UsageError("'rm' can't ask for confirmation without a terminal.", 'Add --yes.');
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const what = id === given ? `${given}, ${formatBytes(found.bytes)}` : given;
    const answer = await lines.question(`Remove ${what}? [y/N] `);
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    lines.close();
  }
}

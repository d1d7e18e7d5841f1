import { hubCacheFolder, type StoredHubModel, storedHubModels } from '../../checkpoint/hub/hub-storage.ts';
import { bundledModels } from '../../checkpoint/model-source.ts';
import { defineCommand } from '../options/command.ts';
import { flag } from '../options/option.ts';
import { print } from '../terminal/standard-output.ts';
import { formatBytes, formatTable } from '../terminal/table.ts';

/** `mamba2 list` */
export const list = defineCommand({
  details: [
    'The cache is shared with Python (HF_HUB_CACHE, HF_HOME), so other kinds of models may be in it. The date of a model is',
    "that of its newest file. 'mamba2 rm' removes a model.",
  ].join(' '),
  options: { json: flag('Print one JSON object') },
  examples: ['list', 'list --json'],
  run: async ({ json }) => {
    const folder = hubCacheFolder();
    const models = await storedHubModels(folder);
    const bundled = bundledModels();
    await print(json ? `${JSON.stringify({ folder, models, bundled })}\n` : `${describe(folder, models, bundled)}\n`);
    return 0;
  },
});

function describe(folder: string, models: readonly StoredHubModel[], bundled: readonly string[]): string {
  const total = models.reduce((sum, { bytes }) => sum + bytes, 0);
  const rows = models.map((model) => [
    model.id,
    formatBytes(model.bytes),
    model.modified.toISOString().slice(0, 10),
    state(model),
  ]);
  const none = `No models are in ${folder}. 'mamba2 pull <id>' fetches one.`;
  return [
    ...(rows.length === 0 ? [none] : [formatTable([['model', 'size', 'written', 'revisions'], ...rows])]),
    '',
    ...(rows.length === 0 ? [] : [`${formatBytes(total)} in ${folder}`]),
    `Bundled: ${bundled.join(', ') || 'none'}`,
  ].join('\n');
}

function state({ revisions, incompleteBytes }: StoredHubModel): string {
  const names = revisions.map(({ commit, refs, missing, quantizations }) => {
    const name = refs.length > 0 ? refs.join(' = ') : commit.slice(0, 8);
    const notes = [...quantizations, ...(missing.length > 0 ? ['incomplete'] : [])];
    return notes.length > 0 ? `${name} (${notes.join(', ')})` : name;
  });
  if (incompleteBytes > 0) names.push(`${formatBytes(incompleteBytes)} of an interrupted download`);
  return names.join(', ') || 'none';
}

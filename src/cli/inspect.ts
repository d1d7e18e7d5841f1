import { resolveModel } from '../checkpoint/model-source.ts';
import { WEIGHT_DTYPES } from '../tensor/dtype.ts';
import { defineCommand } from './command.ts';
import { inspectFolder, type ModelReport } from './model-report.ts';
import { warn } from './notes.ts';
import { flag, text } from './option.ts';
import { PARAMETER_KINDS, type ParameterKind } from './parameter-kinds.ts';
import { ProgressDisplay } from './progress-display.ts';
import { print } from './standard-output.ts';
import { styled } from './styled.ts';
import { formatBytes, formatCount, formatTable } from './table.ts';

/** `mamba2 inspect` */
export const inspect = defineCommand({
  name: 'inspect',
  summary: 'Show what a model is and what it needs, without loading its weights',
  positionals: ['model'],
  details: [
    'The model is a folder, a bundled name or a hub id; a hub model that is not in the cache is downloaded whole.',
    'When the weights contradict the config, the report ends with a warning and the exit code is 1.',
  ].join('\n'),
  options: {
    json: flag('Print one JSON object'),
    revision: text('revision', 'Branch, tag or commit of a hub model (default: main)'),
    quiet: flag('No progress', 'q'),
  },
  examples: ['inspect tiny-dts', 'inspect org/name --json'],
  run: async ({ json, revision, quiet }, [source]) => {
    const progress = new ProgressDisplay(quiet);
    const folder = await resolveModel(source, { revision, onProgress: progress.onProgress }).finally(() =>
      progress.stop(),
    );
    const report = await inspectFolder(folder);
    await print(json ? `${JSON.stringify(report, writeInfinity)}\n` : `${describe(report)}\n`);
    for (const problem of report.problems) warn(problem);
    return report.problems.length > 0 ? 1 : 0;
  },
});

/** JSON has no infinity, which time step limits are. */
function writeInfinity(_key: string, value: unknown): unknown {
  return value === Number.POSITIVE_INFINITY ? 'Infinity' : value;
}

const KIND_NAMES: Readonly<Record<ParameterKind, string>> = {
  embeddings: 'embeddings',
  inProj: 'in_proj',
  conv: 'conv',
  outProj: 'out_proj',
  norms: 'norms',
  other: 'other (A, D, dt)',
};

function describe(report: ModelReport): string {
  const { config, parameters, stateBytes, weightBytes } = report;
  const { architecture, ...sizes } = config;
  const kinds = PARAMETER_KINDS.map((kind) => [KIND_NAMES[kind], formatCount(parameters[kind])]);
  return [
    title(`${architecture} in ${report.folder}`),
    formatTable(Object.entries(sizes).map(([name, value]) => [words(name), String(value)])),
    '',
    title('Parameters'),
    formatTable([...kinds, ['total', formatCount(parameters.total)]]),
    '',
    title('Weights in memory'),
    formatTable(
      WEIGHT_DTYPES.map((dtype) => [dtype, formatBytes(weightBytes[dtype]), `${formatCount(weightBytes[dtype])} B`]),
    ),
    '',
    title('State per sequence, float32'),
    formatTable([
      ['conv', `${formatCount(stateBytes.conv)} B`],
      ['ssm', `${formatCount(stateBytes.ssm)} B`],
      ['total', `${formatCount(stateBytes.total)} B`],
    ]),
    'The state does not grow with the context, so memory sets no limit to its length.',
    '',
    title('Files'),
    describeFiles(report),
  ].join('\n');
}

function describeFiles({ files, tokenizer, chatTemplate }: ModelReport): string {
  const dtypes = Object.entries(files.dtypes).map(([dtype, values]) => `${formatCount(values)} values in ${dtype}`);
  const count = files.names.length === 1 ? files.names[0] : `${files.names.length} shards`;
  const { vocabSize = 0, bosTokenId = null, eosTokenId = null } = tokenizer ?? {};
  const tokens = `${formatCount(vocabSize)} tokens, bos ${bosTokenId ?? 'none'}, eos ${eosTokenId ?? 'none'}`;
  return [
    `weights        ${count}, ${formatBytes(files.bytes)} (${formatCount(files.bytes)} B): ${dtypes.join(', ')}`,
    `tokenizer      ${tokenizer ? tokens : 'none'}`,
    `chat template  ${chatTemplate ? 'yes' : 'no'}`,
  ].join('\n');
}

function title(heading: string): string {
  return styled('bold', heading, process.stdout);
}

/** numHiddenLayers → num hidden layers */
function words(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}

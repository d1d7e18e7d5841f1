import { openModelSource } from '../../checkpoint/model-source.ts';
import { WEIGHT_DTYPES } from '../../tensor/dtype.ts';
import { defineCommand } from '../options/command.ts';
import { count } from '../options/list-options.ts';
import { modelOptions } from '../options/model-options.ts';
import { flag, text } from '../options/option.ts';
import type { ModelLoad } from '../reports/model-load.ts';
import { modelMemory } from '../reports/model-memory.ts';
import { inspectModel, type ModelReport } from '../reports/model-report.ts';
import { PARAMETER_KINDS, type ParameterKind } from '../reports/parameter-kinds.ts';
import { stageMemory } from '../reports/stage-memory.ts';
import { Interrupt } from '../terminal/interrupt.ts';
import { warn } from '../terminal/notes.ts';
import { ProgressDisplay } from '../terminal/progress-display.ts';
import { print } from '../terminal/standard-output.ts';
import { styled } from '../terminal/styled.ts';
import { formatBytes, formatCount, formatTable } from '../terminal/table.ts';

/** `mamba2 inspect` */
export const inspect = defineCommand({
  details: [
    'The model is a folder, a GGUF file, a URL of either, a bundled name or a hub id. A hub model that is not in the cache is not downloaded: only its configs and the headers of its weights are fetched.',
    'If its files would keep the model from loading, the report ends with a warning that says why, and the exit code is 1.',
  ].join(' '),
  options: {
    context: count(4096, 1, 'Tokens of a sequence, for the memory that it needs'),
    batch: count(1, 1, 'Sequences at the same time'),
    pipelineParallelSize: count(1, 1, 'Stages that hold a run of the layers each, for the memory that each needs'),
    mambaSsmCacheDtype: modelOptions.mambaSsmCacheDtype,
    kvCacheDtype: modelOptions.kvCacheDtype,
    json: flag('Print one JSON object'),
    revision: text('revision', 'Branch, tag or commit of a hub model (default: main)'),
    quiet: flag('No progress', 'q'),
  },
  examples: [
    'inspect tiny-dts',
    'inspect org/name --pipeline-parallel-size 2',
    'inspect org/name --json',
    'inspect org/name-GGUF:Q4_K_M',
  ],
  run: async ({ json, revision, quiet, context, batch, pipelineParallelSize, ...asked }, [source]) => {
    const progress = new ProgressDisplay(quiet);
    const interrupt = new Interrupt();
    const { onProgress } = progress;
    const report = await openModelSource(source, { revision, signal: interrupt.signal, onProgress })
      .then((files) => inspectModel(files, pipelineParallelSize, { ...asked, stateDtype: asked.mambaSsmCacheDtype }))
      .finally(() => {
        progress.stop();
        interrupt.close();
      });
    const load = { context, batch };
    const whole = { ...report, memory: modelMemory(report, load) };
    await print(json ? `${JSON.stringify(whole, writeInfinity)}\n` : `${describe(report, load)}\n`);
    for (const message of [...report.problems, ...report.warnings]) warn(message);
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
  attention: 'attention',
  feedForward: 'feed-forward',
  experts: 'experts',
  norms: 'norms',
  other: 'other (A, D, dt)',
};

const TEMPLATE_KINDS = {
  none: 'no',
  chat: 'yes',
  completion: 'completion: it continues the text of a message',
} as const;

function describe(report: ModelReport, load: ModelLoad): string {
  const { config, parameters, stateDType, stateBytes, weightBytes, autoDType, autoWeightBytes } = report;
  const { architecture, ...sizes } = config;
  const present = PARAMETER_KINDS.filter((kind) => parameters[kind] > 0);
  const kinds = present.map((kind) => [KIND_NAMES[kind], formatCount(parameters[kind])]);
  return [
    title(`${architecture} in ${report.folder}`),
    formatTable(settings(sizes)),
    '',
    title('Layers'),
    describeLayers(report.layerMap),
    ...(report.mtp ? ['besides: layers for multi-token prediction, for --speculative-config (method mtp)'] : []),
    '',
    title('Parameters'),
    formatTable([...kinds, ['total', formatCount(parameters.total)]]),
    '',
    title('Weights in memory'),
    formatTable(
      [
        [`auto, on cpu: ${autoDType}`, autoWeightBytes] as const,
        ...WEIGHT_DTYPES.map((dtype) => [dtype, weightBytes[dtype]] as const),
      ].map(([dtype, bytes]) => [dtype, formatBytes(bytes), `${formatCount(bytes)} B`]),
    ),
    '',
    title('State per sequence'),
    formatTable([
      ['conv', 'float32', `${formatCount(stateBytes.conv)} B`],
      ['ssm', stateDType, `${formatCount(stateBytes.ssm)} B`],
      ['total', '', `${formatCount(stateBytes.total)} B`],
    ]),
    '',
    title(`Memory for ${formatCount(load.batch)} × ${formatCount(load.context)} tokens`),
    describeMemory(report, load),
    '',
    ...describeStages(report, load),
    title(`Weights in files${report.quantization ? `: ${report.quantization.method}` : ''}`),
    describeStoredKinds(report.files.kinds),
    '',
    title('Files'),
    describeFiles(report),
  ].join('\n');
}

function describeFiles({ files, tokenizer, chatTemplateKind }: ModelReport): string {
  const dtypes = Object.entries(files.dtypes).map(([dtype, values]) => `${formatCount(values)} values in ${dtype}`);
  const count = files.names.length === 1 ? files.names[0] : `${files.names.length} shards`;
  const { vocabSize = 0, bosTokenId = null, eosTokenId = null } = tokenizer ?? {};
  const tokens = `${formatCount(vocabSize)} tokens, bos ${bosTokenId ?? 'none'}, eos ${eosTokenId ?? 'none'}`;
  return [
    `weights        ${count}, ${formatBytes(files.bytes)} (${formatCount(files.bytes)} B): ${dtypes.join(', ')}`,
    `tokenizer      ${tokenizer ? tokens : 'none'}`,
    `chat template  ${TEMPLATE_KINDS[chatTemplateKind ?? 'none']}`,
  ].join('\n');
}

/** Dtypes, bits per value and bytes of each kind of parameters. */
function describeStoredKinds(kinds: ModelReport['files']['kinds']): string {
  const rows = PARAMETER_KINDS.flatMap((kind) => {
    const { bytes, dtypes } = kinds[kind] ?? {};
    if (bytes === undefined || dtypes === undefined) return [];
    const values = Object.values(dtypes).reduce((sum, count) => sum + count, 0);
    const bits = (8 * bytes) / values;
    return [[KIND_NAMES[kind], Object.keys(dtypes).join(', '), `${bits.toFixed(2)} bits`, `${formatCount(bytes)} B`]];
  });
  return rows.length === 0 ? 'none' : formatTable(rows);
}

/** Layers of each make, and which they are. */
function describeLayers(layerMap: ModelReport['layerMap']): string {
  const makes = new Map<string, number[]>();
  for (const [i, parts] of layerMap.entries()) {
    const make = parts.join(' + ');
    makes.set(make, [...(makes.get(make) ?? []), i]);
  }
  return formatTable([...makes].map(([make, layers]) => [make, `${layers.length}:`, runs(layers)]));
}

/** [0, 1, 2, 5] → '0-2, 5' */
function runs(numbers: readonly number[]): string {
  const found: [first: number, last: number][] = [];
  for (const number of numbers) {
    const run = found.at(-1);
    if (run?.[1] === number - 1) run[1] = number;
    else found.push([number, number]);
  }
  return found.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(', ');
}

function describeMemory(report: ModelReport, load: ModelLoad): string {
  const { kvBytesPerToken, kvCacheDType } = report;
  const { states, keysAndValues, total } = modelMemory(report, load);
  const growth =
    kvBytesPerToken > 0
      ? `Each further token of a sequence takes ${formatCount(kvBytesPerToken)} B of keys and values in ${kvCacheDType}; the state does not grow.`
      : 'The state does not grow with the context, so memory sets no limit to its length.';
  return [
    formatTable([
      ['states', formatBytes(states)],
      ['keys and values', formatBytes(keysAndValues)],
      ...WEIGHT_DTYPES.map((dtype) => [`with ${dtype} weights`, formatBytes(total[dtype])]),
    ]),
    growth,
  ].join('\n');
}

function describeStages({ stages }: ModelReport, load: ModelLoad): string[] {
  if (stages.length === 0) return [];
  const rows = stages.map((stage, i) => [
    `stage ${i + 1}`,
    `layers ${stage.begin}-${stage.end - 1}`,
    `weights ${formatBytes(stage.weightBytes)}`,
    `state ${formatBytes(stage.stateBytes)}`,
    `in all ${formatBytes(stageMemory(stage, load))}`,
  ]);
  return [
    title(`Stages, dtype auto, for ${formatCount(load.batch)} × ${formatCount(load.context)} tokens`),
    formatTable(rows),
    '',
  ];
}

/** Names and values of a config; those of its parts begin with the part's name. */
function settings(config: object, prefix = ''): string[][] {
  return Object.entries(config).flatMap(([name, value]) => {
    // The map of layers says it better.
    if (value === undefined || name === 'layerTypes' || name === 'layers') return [];
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      return [[`${prefix}${words(name)}`, Array.isArray(value) ? value.join(', ') || 'none' : String(value)]];
    }
    return settings(value, `${prefix}${words(name)}: `);
  });
}

function title(heading: string): string {
  return styled('bold', heading, process.stdout);
}

/** numHiddenLayers → num hidden layers */
function words(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}

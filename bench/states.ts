import { execFileSync } from 'node:child_process';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { ReferenceBackend } from '../src/backends/reference/reference-backend.ts';
import { Checkpoint } from '../src/checkpoint/checkpoint.ts';
import { memorySource } from '../src/checkpoint/files/byte-source.ts';
import { SafetensorsFile } from '../src/checkpoint/safetensors/safetensors.ts';
import { bitsPerByte, scoreText, type TextScore, totalScore } from '../src/cli/reports/text-score.ts';
import { formatTable } from '../src/cli/terminal/table.ts';
import { singleProcess } from '../src/distributed/process-group.ts';
import { LLM } from '../src/engine/llm.ts';
import type { LoadOptions } from '../src/engine/load/load-options.ts';
import { type MambaStateSize, mamba2StateShape } from '../src/layers/mamba/mamba-state-shape.ts';
import { LayerContext } from '../src/layers/parameters/layer-context.ts';
import { defineModel } from '../src/models/registry.ts';
import { elementCount } from '../src/tensor/tensor.ts';
// @ts-expect-error: a script of the training, without types
import { entries } from '../training/tar.mjs';
import { say } from './child-process.ts';

/**
 * What states of 16 bits cost the bundled model, by dtype and rounding: bits per byte over held-out files, and over single
 * long texts; and how far states are from those in float32 after a long text. `npm run states`.
 */
const ROOT = join(import.meta.dirname, '..');
const MODEL = join(ROOT, 'models', 'tiny-dts');
const FOLDER = join(import.meta.dirname, '.build', 'held-out');
/** Files of a held-out package that count as texts of their own, and how large they may be. */
const FILES_EACH = 8;
const LARGEST_FILE = 40_000;
/** Smaller files only name others. */
const SMALLEST_FILE = 2000;
/** Characters of all files together that each long text has; only its first tokens are read. */
const CHARACTERS_EACH = 180_000;

const FORMS = [
  { stateDtype: 'float32', stateRounding: 'nearest' },
  { stateDtype: 'float16', stateRounding: 'nearest' },
  { stateDtype: 'float16', stateRounding: 'stochastic' },
  { stateDtype: 'bfloat16', stateRounding: 'nearest' },
  { stateDtype: 'bfloat16', stateRounding: 'stochastic' },
] as const;

const { values } = parseArgs({
  options: {
    tokens: { type: 'string', default: '38432' },
    long: { type: 'string', default: '30000' },
    drift: { type: 'string', default: '100000' },
    texts: { type: 'string', default: '4' },
    packages: { type: 'string', default: '12' },
    json: { type: 'boolean', default: false },
  },
});

interface Result {
  readonly form: (typeof FORMS)[number];
  readonly heldOut: TextScore;
  readonly long: readonly TextScore[];
  /** Distance of states from those in float32 as a share of their norm, of each layer and head, at some lengths. */
  readonly drift: readonly { readonly length: number; readonly worst: number; readonly median: number }[];
}

const packages = await heldOutPackages(Number(values.packages));
const heldOut = packages.flatMap((files) => files.filter(({ length }) => length < LARGEST_FILE).slice(0, FILES_EACH));
const whole = packages.flat().join('\n');
const longTexts = Array.from({ length: Number(values.texts) }, (_, i) =>
  whole.slice(i * CHARACTERS_EACH, (i + 1) * CHARACTERS_EACH),
);
const sizes = await stateSizes();
const results: Result[] = [];
let exact: Float32Array[] = [];
for (const form of FORMS) {
  const name = `${form.stateDtype}, ${form.stateRounding}`;
  await using llm = await load(form);
  say(`${name}: held-out files`);
  const scores: TextScore[] = [];
  for (const text of heldOut) {
    const left = Number(values.tokens) - totalScore(scores).tokens;
    if (left > 0) scores.push(await scoreText(llm, text, left));
  }
  say(`${name}: long texts`);
  const long: TextScore[] = [];
  for (const text of longTexts) long.push(await scoreText(llm, text, Number(values.long)));
  say(`${name}: states`);
  const { lengths, states } = await statesAlong(llm, whole, Number(values.drift));
  if (form.stateDtype === 'float32') exact = states;
  const drift = lengths.map((length, i) => ({ length, ...distances(states[i], exact[i]) }));
  results.push({ form, heldOut: totalScore(scores), long, drift });
  say(`${name}: ${bitsPerByte(totalScore(scores))} and ${bitsPerByte(totalScore(long))} bits per byte`);
}
if (values.json) process.stdout.write(`${JSON.stringify(results)}\n`);
else report();

function load(form: LoadOptions): Promise<LLM> {
  return LLM.load(MODEL, { device: 'cpu', dtype: 'stored', maxNumSeqs: 1, enablePrefixCaching: false, ...form });
}

/** Sizes of the layers' states. */
async function stateSizes(): Promise<readonly MambaStateSize[]> {
  const checkpoint = await Checkpoint.open(MODEL);
  await checkpoint.close();
  const context = new LayerContext(new ReferenceBackend(), singleProcess, 'float32');
  return defineModel(checkpoint.config, checkpoint.names()).create(context).stateSizes;
}

/** Declaration files of each of the first held-out packages, which the registry gives. */
async function heldOutPackages(count: number): Promise<string[][]> {
  const list = await readFile(join(ROOT, 'training', 'heldout-packages.txt'), 'utf8');
  const names = list.trim().split('\n').slice(0, count);
  await mkdir(FOLDER, { recursive: true });
  if ((await readdir(FOLDER)).length < count) {
    say(`fetching ${names.length} held-out packages`);
    execFileSync('npm', ['pack', '--silent', '--pack-destination', FOLDER, ...names], { cwd: FOLDER });
  }
  const archives = (await readdir(FOLDER)).sort();
  return Promise.all(
    archives.map(async (archive) => {
      const files = [...entries(gunzipSync(await readFile(join(FOLDER, archive))))];
      const declarations = files.filter(([path, { length }]) => path.endsWith('.d.ts') && length > SMALLEST_FILE);
      return declarations.map(([, bytes]) => bytes.toString('utf8'));
    }),
  );
}

/** The model's states after a tenth of the tokens, two tenths and so on. */
async function statesAlong(llm: LLM, text: string, tokens: number) {
  const ids = (llm.tokenizer?.encode(text) ?? []).slice(0, tokens);
  if (ids.length < tokens) throw new Error(`The text has ${ids.length} tokens, not ${tokens}.`);
  const session = llm.createSession();
  const lengths: number[] = [];
  const states: Float32Array[] = [];
  for (let tenth = 1; tenth <= 10; tenth++) {
    const end = Math.floor((tokens * tenth) / 10);
    await session.append(ids.slice(session.tokenIds.length, end));
    const file = await SafetensorsFile.open(memorySource('session', await session.save()));
    lengths.push(end);
    states.push(await file.readFloat32('state'));
  }
  session.dispose();
  return { lengths, states };
}

/** The largest and the median distance of a head's state from that in float32. */
function distances(states: Float32Array, exact: Float32Array) {
  const found: number[] = [];
  let at = 0;
  for (const size of sizes) {
    const { conv, ssm } = mamba2StateShape(size, 1);
    at += elementCount(conv);
    const length = ssm[1] * ssm[2];
    for (let h = 0; h < ssm[0]; h++, at += length) {
      let [difference, norm] = [0, 0];
      for (let i = at; i < at + length; i++) {
        difference += (states[i] - exact[i]) ** 2;
        norm += exact[i] ** 2;
      }
      found.push(Math.sqrt(difference / norm));
    }
  }
  const sorted = found.toSorted((a, b) => a - b);
  return { worst: sorted[sorted.length - 1], median: sorted[sorted.length >> 1] };
}

function report(): void {
  const [{ heldOut: first, long }] = results;
  const loss = (score: TextScore, by: TextScore) =>
    `${(100 * (bitsPerByte(score) / bitsPerByte(by) - 1)).toFixed(3)} %`;
  const rows = results.map((result) => {
    const last = result.drift[result.drift.length - 1];
    const worst = Math.max(...result.drift.map((each) => each.worst));
    return [
      `${result.form.stateDtype}, ${result.form.stateRounding}`,
      bitsPerByte(result.heldOut).toFixed(5),
      loss(result.heldOut, first),
      bitsPerByte(totalScore(result.long)).toFixed(5),
      loss(totalScore(result.long), totalScore(long)),
      result.long.map((score, i) => loss(score, long[i])).join(', '),
      `${(100 * worst).toFixed(2)} %`,
      `${(100 * last.median).toFixed(3)} %`,
    ];
  });
  const headers = ['states', 'held-out', 'loss', 'long texts', 'loss', 'each', 'worst head', 'median head'];
  process.stdout.write(`${first.tokens} tokens of held-out files, ${values.texts} texts of ${values.long} tokens, `);
  process.stdout.write(`states over ${values.drift} tokens\n\n${formatTable([headers, ...rows])}\n`);
}

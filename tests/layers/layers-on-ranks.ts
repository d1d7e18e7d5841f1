import { ReferenceBackend } from '../../src/backends/reference/reference-backend.ts';
import type { ProcessGroup } from '../../src/distributed/process-group.ts';
import { ColumnParallelLinear, RowParallelLinear } from '../../src/layers/linear/linear.ts';
import { VocabParallelEmbedding } from '../../src/layers/linear/vocab-parallel-embedding.ts';
import { Mixer2RMSNormGated } from '../../src/layers/mamba/mixer2-rms-norm-gated.ts';
import { LayerContext } from '../../src/layers/parameters/layer-context.ts';
import { BlockwiseQuantization } from '../../src/layers/parameters/quantization.ts';
import type { StateDType } from '../../src/tensor/state-dtype.ts';
import type { MixerCase } from './mixer-case.ts';
import { loadSeeded, MixerRig, type RigStep } from './mixer-rig.ts';
import { columns, SeededRandom } from './seeded.ts';

/** What the rank tests run on every rank. All of it runs in a thread, so nothing here may need vitest. */

export interface MixerRun {
  /** [step][sequence] */
  readonly outputs: readonly (readonly Float32Array[])[];
  /** (slots, heads of this rank, P, N) */
  readonly ssm: Float32Array;
}

/** Several mixers, each through its steps: one task for many cases, because a task costs more than a small case. */
export async function runMixers(
  group: ProcessGroup,
  runs: readonly { config: MixerCase; slots: number; steps: readonly RigStep[]; stateDType?: StateDType }[],
): Promise<MixerRun[]> {
  const results: MixerRun[] = [];
  for (const { config, slots, steps, stateDType } of runs) {
    const rig = new MixerRig(config, slots, group, Number.NaN, stateDType);
    const outputs: Float32Array[][] = [];
    for (const step of steps) outputs.push(await rig.step(step));
    results.push({ outputs, ssm: await rig.backend.read(rig.cache.ssmState) });
  }
  return results;
}

export interface GatedNormInput {
  readonly hiddenSize: number;
  readonly nGroups: number;
  readonly useRmsNorm: boolean;
  readonly rows: number;
  readonly seed: number;
}

/** Whole rows and weights of a gated norm, the same in every thread. */
export function gatedNormData({ hiddenSize, rows, seed }: GatedNormInput) {
  const random = new SeededRandom(seed);
  return { x: random.floats(rows * hiddenSize, -2, 2), gate: random.floats(rows * hiddenSize, -3, 3) };
}

/** This rank's columns of the norm's output. */
export async function runGatedNorm(group: ProcessGroup, input: GatedNormInput): Promise<Float32Array> {
  const { hiddenSize, nGroups, useRmsNorm, rows, seed } = input;
  const backend = new ReferenceBackend();
  const norm = new Mixer2RMSNormGated(
    new LayerContext(backend, group, 'float32'),
    hiddenSize,
    nGroups,
    useRmsNorm,
    1e-5,
  );
  loadSeeded(norm, seed);
  const width = hiddenSize / group.size;
  const own = (whole: Float32Array) =>
    backend.tensor(columns(whole, hiddenSize, group.rank * width, (group.rank + 1) * width), [rows, width]);
  const { x, gate } = gatedNormData(input);
  return backend.read(norm.forward(own(x), own(gate)));
}

export interface LinearInput {
  readonly inputSize: number;
  readonly outputSize: number;
  readonly bias: boolean;
  readonly rows: number;
  readonly quant?: 'int8' | 'int4';
  readonly seed: number;
}

function linearOptions({ bias, quant }: LinearInput) {
  return { bias, prefix: 'linear', quantConfig: quant && new BlockwiseQuantization(quant) };
}

/** This rank's columns of y. */
export async function runColumnParallel(group: ProcessGroup, input: LinearInput): Promise<Float32Array> {
  const backend = new ReferenceBackend();
  const context = new LayerContext(backend, group, 'float32');
  const linear = new ColumnParallelLinear(context, input.inputSize, input.outputSize, linearOptions(input));
  loadSeeded(linear, input.seed);
  const x = new SeededRandom(input.seed + 1).floats(input.rows * input.inputSize);
  return backend.read(linear.forward(backend.tensor(x, [input.rows, input.inputSize])));
}

/** All of y, from this rank's columns of x. */
export async function runRowParallel(group: ProcessGroup, input: LinearInput): Promise<Float32Array> {
  const backend = new ReferenceBackend();
  const linear = new RowParallelLinear(
    new LayerContext(backend, group, 'float32'),
    input.inputSize,
    input.outputSize,
    linearOptions(input),
  );
  loadSeeded(linear, input.seed);
  const x = new SeededRandom(input.seed + 1).floats(input.rows * input.inputSize);
  const width = input.inputSize / group.size;
  const own = columns(x, input.inputSize, group.rank * width, (group.rank + 1) * width);
  return backend.read(linear.forward(backend.tensor(own, [input.rows, width])));
}

export interface VocabInput {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly ids: readonly number[];
  readonly quant?: 'int8' | 'int4';
  readonly seed: number;
}

/** The ids' embeddings, and the logits of those embeddings under the same, tied table. */
export async function runTiedVocabulary(
  group: ProcessGroup,
  { vocabSize, hiddenSize, ids, quant, seed }: VocabInput,
): Promise<{ embedded: Float32Array; logits: Float32Array }> {
  const backend = new ReferenceBackend();
  const table = new VocabParallelEmbedding(new LayerContext(backend, group, 'float32'), {
    role: 'head',
    vocabSize,
    hiddenSize,
    prefix: 'embeddings',
    quantConfig: quant && new BlockwiseQuantization(quant),
  });
  loadSeeded(table, seed);
  const embedded = table.embed(backend.tensor(Int32Array.from(ids), [ids.length]));
  return { embedded: await backend.read(embedded), logits: await backend.read(table.logits(embedded)) };
}

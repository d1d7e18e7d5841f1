import { ReferenceBackend } from '../../src/backends/reference/reference-backend.ts';
import { type ProcessGroup, singleProcess } from '../../src/distributed/process-group.ts';
import { MambaMixer2 } from '../../src/layers/mamba/mamba-mixer2.ts';
import { type BatchOrder, buildMamba2Metadata, reorderBatch } from '../../src/layers/mamba/mamba2-metadata.ts';
import type { MambaCacheParams } from '../../src/layers/mamba/state-space-mixer.ts';
import { LayerContext } from '../../src/layers/parameters/layer-context.ts';
import { type Module, ParameterTable } from '../../src/layers/parameters/parameter.ts';
import type { StateDType } from '../../src/tensor/state-dtype.ts';
import type { Tensor } from '../../src/tensor/tensor.ts';
import { type MixerCase, mixerOptions, mupShard, seededWeights } from './mixer-case.ts';
import { concatenated, SeededRandom } from './seeded.ts';

/** One sequence's part in a step: `tokens` is (numTokens, hiddenSize). */
export interface RigSequence {
  readonly slot: number;
  readonly numComputedTokens: number;
  readonly tokens: Float32Array;
}

/** One step of a rig. */
export interface RigStep {
  readonly sequences: readonly RigSequence[];
  readonly order?: BatchOrder;
}

/** A slot's state, copied. */
export interface SlotState {
  readonly conv: Float32Array;
  readonly ssm: Float32Array;
}

/** A mixer with seeded weights and a state cache, on one rank. */
export class MixerRig {
  readonly backend = new ReferenceBackend();
  readonly mixer: MambaMixer2;
  readonly weights: Readonly<Record<string, Float32Array>>;
  readonly cache: MambaCacheParams;
  readonly #config: MixerCase;
  readonly #slots: number;
  readonly #mup: Tensor | undefined;

  readonly #isStochastic: boolean;

  /**
   * @param fill what the cache holds at first, as if others had used it.
   * @param stateDType of 16 bits: states are rounded stochastically.
   */
  constructor(
    config: MixerCase,
    slots: number,
    group: ProcessGroup = singleProcess,
    fill = 0,
    stateDType: StateDType = 'float32',
  ) {
    const { backend } = this;
    this.#config = config;
    this.#slots = slots;
    this.#isStochastic = stateDType !== 'float32';
    this.mixer = new MambaMixer2(new LayerContext(backend, group, 'float32'), mixerOptions(config));
    this.weights = loadSeeded(this.mixer, config.seed);
    const { conv, ssm } = this.mixer.getStateShape();
    const filled = (shape: readonly number[]) =>
      backend.tensor(new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(fill), shape);
    const ssmState = this.#isStochastic ? backend.zeros([slots, ...ssm], stateDType) : filled([slots, ...ssm]);
    this.cache = { convState: filled([slots, ...conv]), ssmState };
    const mup = config.useMup ? mupShard(config, group.size, group.rank) : undefined;
    this.#mup = mup && backend.tensor(mup, [mup.length]);
  }

  /** Runs a step; each sequence's output, in the order given. */
  async step({ sequences, order = 'decode-first' }: RigStep): Promise<Float32Array[]> {
    const { hiddenSize } = this.#config;
    const scheduled = sequences.map((sequence) => ({ ...sequence, numTokens: sequence.tokens.length / hiddenSize }));
    const ordered = reorderBatch(scheduled, order);
    const metadata = buildMamba2Metadata(this.backend, ordered, {
      order,
      chunkSize: this.mixer.chunkSize,
      withPositions: this.#isStochastic,
    });
    const rows = concatenated(ordered.map(({ tokens }) => tokens));
    const hidden = this.backend.tensor(rows, [rows.length / hiddenSize, hiddenSize]);
    const out = await this.backend.read(this.mixer.forward(hidden, this.cache, metadata, this.#mup));
    const outputs = new Map<object, Float32Array>();
    let begin = 0;
    for (const sequence of ordered) {
      outputs.set(sequence, out.slice(begin, begin + sequence.tokens.length));
      begin += sequence.tokens.length;
    }
    return scheduled.map((sequence) => outputs.get(sequence) ?? new Float32Array());
  }

  async slot(slot: number): Promise<SlotState> {
    const [conv, ssm] = [await this.backend.read(this.cache.convState), await this.backend.read(this.cache.ssmState)];
    const part = (all: Float32Array) =>
      all.slice((slot * all.length) / this.#slots, ((slot + 1) * all.length) / this.#slots);
    return { conv: part(conv), ssm: part(ssm) };
  }
}

/** Loads a module with seeded checkpoint tensors, and returns them. */
export function loadSeeded(module: Module, seed: number): Record<string, Float32Array> {
  const table = new ParameterTable(module);
  const weights = seededWeights(
    table.names().map((name) => [name, table.shape(name)] as const),
    seed,
  );
  for (const name of table.names()) table.load(name, weights[name]);
  return weights;
}

/** Seeded hidden states (count, hiddenSize). */
export function seededTokens(config: MixerCase, count: number, seed: number): Float32Array {
  return new SeededRandom(seed).floats(count * config.hiddenSize);
}

/** A whole sequence on a rig of its own: what every batch that contains it must reproduce. */
export async function alone(
  config: MixerCase,
  tokens: Float32Array,
): Promise<{ output: Float32Array; state: SlotState }> {
  const rig = new MixerRig(config, 1);
  const [output] = await rig.step({ sequences: [{ slot: 0, numComputedTokens: 0, tokens }] });
  return { output, state: await rig.slot(0) };
}

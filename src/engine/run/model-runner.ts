import type { Backend } from '../../backends/contract/backend.ts';
import type { PrepareWatch } from '../../backends/contract/life-cycle.ts';
import { LAST_SAMPLED } from '../../backends/contract/sampling.ts';
import { stepTensors } from '../../backends/contract/steps.ts';
import { type ProcessGroup, singleProcess } from '../../distributed/process-group.ts';
import {
  ArgumentError,
  DisposedError,
  OutOfDeviceMemoryError,
  OutOfMemoryError,
  RankFailedError,
} from '../../errors.ts';
import {
  type AttentionLayout,
  buildAttentionMetadata,
  decodeAttentionInputs,
  KV_BLOCK_SIZE,
} from '../../layers/attention/attention-metadata.ts';
import {
  buildMamba2Metadata,
  checkSequences,
  decodeMetadata,
  isDecode,
  keptRows,
  reorderBatch,
  type ScheduledSequence,
} from '../../layers/mamba/mamba2-metadata.ts';
import type { CausalLM } from '../../models/causal-lm.ts';
import { FLOAT32_STATES, isStochastic } from '../../tensor/state-dtype.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { DecayWatch, selectLogDecays } from './decay-watch.ts';
import {
  type Batch,
  type Executor,
  exportedLength,
  type GuessBatch,
  type ScheduledTokens,
  type StateCommand,
  type StateFootprint,
  type StatePlace,
  type StepOutput,
} from './executor.ts';
import { guessTokens } from './guess-tokens.ts';
import { maxBatchedTokens, prepareSteps } from './prepare-steps.ts';
import { ReplayedSlots, replayedTokens } from './replayed-slots.ts';
import { type AdvancedSlot, StateCache, type StateCacheSize } from './state-cache.ts';
import { joinStateParts, type StatePart } from './state-part.ts';
import { type LogitsRow, type SampledLogits, StepSampling } from './step-sampling.ts';

export interface ModelRunnerOptions extends Omit<StateCacheSize, 'replayed'> {
  readonly chunkSize: number;
  /** Default: one rank. */
  readonly group?: ProcessGroup | undefined;
}

/** A model with its states. */
interface ModelWithStates {
  readonly model: CausalLM;
  readonly states: StateCache;
  /** An int32 tensor of no elements. */
  readonly none: Tensor;
  /** (slots): the token that was sampled last for each, where the backend samples. */
  readonly sampled: Tensor | undefined;
  /** (slots): the token that was guessed last for each, where the backend samples and the model guesses. */
  readonly guessed: Tensor | undefined;
}

/** Results of a step. */
type StepOutputs = Partial<SampledLogits> & {
  readonly logDecays: Tensor | undefined;
  readonly activations?: Tensor | undefined;
};

type BatchSequence = ScheduledTokens & ScheduledSequence;

/** Runs a model's steps on one rank: lays the batch out in rows, keeps the state cache, and picks rows for the head. */
export class ModelRunner implements Executor {
  /** `bytes` are those of this rank. */
  readonly stateFootprint: StateFootprint;
  readonly #backend: Backend;
  readonly #chunkSize: number;
  readonly #keptTokens: number;
  readonly #slots: number;
  readonly #group: ProcessGroup;
  /** Whether states are rounded by the positions of tokens. */
  readonly #withPositions: boolean;
  /** Undefined where states are written in each step. */
  readonly #replayed: ReplayedSlots | undefined;
  readonly #samplesTokens: boolean;
  #maxBatchedTokens = Number.POSITIVE_INFINITY;
  /** Memory that the next logits may take. */
  #spare: Float32Array<ArrayBuffer> | undefined;
  /** Why it has no states, until it is reset. */
  #lost: OutOfMemoryError | undefined;
  /** The model, until the runner is disposed of: then memory is freed even if the runner is still referenced. */
  #loaded: ModelWithStates | undefined;

  constructor(
    backend: Backend,
    model: CausalLM,
    {
      slots,
      numBlocks,
      keptTokens = 0,
      states: storage = FLOAT32_STATES,
      kvCacheDtype,
      cacheScales,
      chunkSize,
      group = singleProcess,
    }: ModelRunnerOptions,
  ) {
    this.#backend = backend;
    this.#chunkSize = chunkSize;
    this.#keptTokens = keptTokens;
    this.#slots = slots;
    this.#group = group;
    this.#withPositions = isStochastic(storage);
    const replayed = replayedTokens(backend.replay, model, storage);
    const most = Math.max(0, ...replayed);
    const fewestRows = storage.replaySteps === undefined ? (backend.replay?.fewestRows ?? 1) : 1;
    this.#replayed = most > 0 ? new ReplayedSlots(slots, most, fewestRows) : undefined;
    const size = { slots, numBlocks, keptTokens, states: storage, kvCacheDtype, cacheScales, replayed };
    const states = new StateCache(backend, model, size, group);
    this.stateFootprint = states.footprint;
    const isWhole = model.isFirstStage && model.isLastStage;
    this.#samplesTokens = backend.sampling !== undefined && isWhole;
    const sampled = this.samplesTokens ? backend.zeros([slots]) : undefined;
    const guessed = backend.sampling && states.lastHidden ? backend.zeros([slots]) : undefined;
    this.#loaded = { model, states, none: backend.tensor(new Int32Array(0), [0]), sampled, guessed };
  }

  get failed(): Promise<Error> | undefined {
    return this.#backend.failed;
  }

  /**
   * Whether the backend chooses tokens: of several ranks each does, from the same logits. In a stage it cannot, because the
   * first stage would not know the tokens.
   */
  get samplesTokens(): boolean {
    return this.#samplesTokens;
  }

  get promptAlignment(): number | undefined {
    return this.#backend.promptAlignment;
  }

  get maxBatchedTokens(): number {
    return this.#maxBatchedTokens;
  }

  /** Readies the kernels of steps of usual sizes: see {@link prepareSteps}. */
  async prepare(watch?: PrepareWatch): Promise<void> {
    const replayed = this.#replayed;
    const parts = {
      ...this.#usable(),
      backend: this.#backend,
      slots: this.#slots,
      chunkSize: this.#chunkSize,
      withPositions: this.#withPositions,
      countReplayed: replayed && ((decodes: readonly ScheduledSequence[]) => replayed.count(decodes)),
    };
    this.#maxBatchedTokens = maxBatchedTokens(parts);
    await prepareSteps(parts, this.#maxBatchedTokens, watch);
  }

  execute(batch: Batch): Promise<StepOutput> {
    return this.#unlessLost(batch.commands ?? [], (loaded) => this.#execute(loaded, batch));
  }

  guess({ commands, sequences, count }: GuessBatch): Promise<Int32Array<ArrayBuffer>> {
    return this.#unlessLost(commands, async (loaded) => {
      this.#carryOut(loaded, commands);
      if (sequences.length === 0) return new Int32Array();
      checkSequences(
        sequences.map((sequence) => ({ ...sequence, numTokens: count })),
        this.#slots,
      );
      for (const { blocks } of sequences) loaded.states.kvCache?.check(blocks);
      return guessTokens({ ...loaded, backend: this.#backend, chunkSize: this.#chunkSize }, sequences, count);
    });
  }

  /** What a step gives. Rejects with OutOfMemoryError where memory was missing for it, or for an earlier one. */
  async #unlessLost<T>(commands: readonly StateCommand[], run: (loaded: ModelWithStates) => Promise<T>): Promise<T> {
    const loaded = this.#usable();
    if (commands[0]?.type === 'reset') {
      this.#lost = undefined;
      this.#group.reset?.();
    }
    this.#assertStates();
    try {
      return await run(loaded);
    } catch (error) {
      // A rank of a group is told that another has failed. If that one has ended, so will all.
      const isLost =
        error instanceof RangeError ||
        error instanceof OutOfMemoryError ||
        error instanceof RankFailedError ||
        (error instanceof OutOfDeviceMemoryError && this.#backend.outlivesMissingMemory);
      if (!isLost) throw error;
      this.#lost = new OutOfMemoryError(`Memory is missing for a step: ${error.message}`, '', { cause: error });
      throw this.#lost;
    }
  }

  async #execute(loaded: ModelWithStates, batch: Batch): Promise<StepOutput> {
    const { commands = [] } = batch;
    const sequences = batch.sequences.map((scheduled) => ({ ...scheduled, numTokens: scheduled.tokenIds.length }));
    checkSequences(sequences, this.#slots);
    this.#carryOut(loaded, commands, sequences);
    if (sequences.length === 0) return { logits: new Float32Array() };
    for (const { blocks = [] } of sequences) loaded.states.kvCache?.check(blocks);
    // Steps that a backend repeats take no activations.
    const isRepeatable = sequences.every(isDecode) && loaded.model.isFirstStage;
    return isRepeatable ? this.#decode(loaded, sequences) : this.#mixed(loaded, sequences, batch);
  }

  /** @param sequences of the step that follows. */
  #carryOut(
    loaded: ModelWithStates,
    commands: readonly StateCommand[],
    sequences: readonly ScheduledSequence[] = [],
  ): void {
    this.#takeReplayed(loaded, commands, sequences);
    loaded.states.run(commands, (slots) => this.#advance(loaded, slots));
  }

  recycle(logits: Float32Array<ArrayBuffer>): void {
    if (logits.buffer.byteLength > (this.#spare?.buffer.byteLength ?? 0)) this.#spare = logits;
  }

  async exportState(place: StatePlace): Promise<Float32Array<ArrayBuffer>> {
    const length = exportedLength(this.stateFootprint, place);
    return joinStateParts(await this.exportStateParts(place), length);
  }

  /** This rank's parts of a snapshot's state. */
  async exportStateParts(place: StatePlace): Promise<StatePart[]> {
    this.#assertStates();
    return this.#usable().states.exportParts(place);
  }

  async importState(place: StatePlace, state: Float32Array): Promise<void> {
    this.#assertStates();
    this.#usable().states.importWhole(place, state);
  }

  async dispose(): Promise<void> {
    if (this.#loaded) this.#backend.dispose?.();
    this.#loaded = undefined;
  }

  /** @throws OutOfMemoryError after a step for which memory was missing. */
  #assertStates(): void {
    if (this.#lost) throw this.#lost;
  }

  #usable(): ModelWithStates {
    if (this.#loaded) return this.#loaded;
    throw new DisposedError('The model was disposed of.', 'Load it again.');
  }

  /** Takes the tokens that states lack into those that a step uses otherwise than by decoding. */
  #takeReplayed(
    { model, states }: ModelWithStates,
    commands: readonly StateCommand[],
    sequences: readonly ScheduledSequence[],
  ): void {
    const replayed = this.#replayed;
    if (!replayed) return;
    const used = replayed.before(commands, sequences);
    if (used.length > 0) {
      const { slots, counts, positions } = replayed.take(used);
      this.#backend.scope(() => {
        const indices = (values: Int32Array) => this.#backend.tensor(values, [values.length]);
        model.takeReplayed(states.layers, {
          slots: indices(slots),
          counts: indices(counts),
          positions: this.#withPositions ? indices(positions) : undefined,
        });
      });
    }
    replayed.replace(commands, sequences);
  }

  /** Takes tentative tokens that have turned out to count into their slots' states. */
  #advance({ model, states }: ModelWithStates, slots: readonly AdvancedSlot[]): void {
    const sequences = slots.map(({ slot, numTokens }) => ({ slot, numTokens, numComputedTokens: 1 }));
    checkSequences(sequences, this.#slots);
    this.#backend.scope(() => {
      const rows = keptRows(this.#backend, sequences, this.#keptTokens);
      model.advance(states.layers, rows, this.#chunkSize, states.lastHidden);
    });
  }

  /** Runs one token of each sequence, in a step that a backend can repeat for the same number of sequences. */
  #decode({ model, states, none, sampled }: ModelWithStates, sequences: readonly BatchSequence[]): Promise<StepOutput> {
    const sampling = new StepSampling(sequences.map((sequence) => logitsRow(sequence, sequence.slot)));
    const isAhead = sequences.some(({ tokenIds }) => tokenIds[0] === LAST_SAMPLED);
    const isWatched = states.layers.length > 0 && sequences.some(({ watch }) => watch);
    const results: StepOutputs = this.#backend.step({
      variant: { isAhead, isWatched },
      inputs: {
        batch: {
          tokenIds: Int32Array.from(sequences, ({ tokenIds }) => tokenIds[0]),
          slots: Int32Array.from(sequences, ({ slot }) => slot),
          positions: this.#withPositions
            ? Int32Array.from(sequences, ({ numComputedTokens }) => numComputedTokens)
            : undefined,
          replayCounts: this.#replayed?.count(sequences),
        },
        sampling: sampling.inputs,
        attention: states.kvCache && decodeAttentionInputs(sequences, KV_BLOCK_SIZE, layoutOf(states)),
      },
      compute: ({ batch, sampling: rows, attention }) => {
        const { tokenIds: inputIds, slots } = isAhead ? this.#takeSampled(batch, sampled) : batch;
        const watch = isWatched ? new DecayWatch(this.#backend, states.layers, sequences.length) : undefined;
        const metadata = { ...decodeMetadata(slots, none, this.#chunkSize, batch), attention };
        const cache = watch?.cache ?? states.layers;
        const { kvCache, lastHidden } = states;
        const hiddenStates = model.forward({ inputIds, cache, kvCache: kvCache?.layers, lastHidden, metadata });
        const logDecays = watch?.gather(this.#group);
        if (!model.isLastStage) return { activations: hiddenStates, logDecays };
        return { ...sampling.run(this.#backend, model.computeLogits(hiddenStates), rows, sampled), logDecays };
      },
    });
    return this.#read(results, sequences, sequences, states);
  }

  #mixed(
    { model, states, sampled }: ModelWithStates,
    sequences: readonly BatchSequence[],
    { logits, activations }: Pick<Batch, 'logits' | 'activations'>,
  ): Promise<StepOutput> {
    const backend = this.#backend;
    const replayed = this.#replayed;
    const ordered = reorderBatch(sequences, 'decode-first');
    const firstRow = new Map<object, number>();
    const tokenIds: number[] = [];
    for (const sequence of ordered) {
      firstRow.set(sequence, tokenIds.length);
      for (const tokenId of sequence.tokenIds) tokenIds.push(tokenId);
    }
    const rows = sequences.flatMap((sequence) => {
      const first = firstRow.get(sequence) ?? 0;
      const all = Array.from({ length: sequence.numTokens }, (_, i) => first + i);
      const wanted = (sequence.logits ?? logits) === 'last' ? all.slice(-1) : all;
      return wanted.map((row, i) => ({ row, i, sequence }));
    });
    // Tokens of one sequence would be kept at the same slot, all at once. No step continues from them: each has a place of its own.
    const isTentative = sequences.some((sequence) => sequence.isTentative);
    const sampling = new StepSampling(
      rows.map(({ sequence, i }, place) => logitsRow(sequence, isTentative ? place : sequence.slot, i)),
    );
    return backend.scope(() => {
      const isWatched = states.layers.length > 0 && sequences.some(({ watch }) => watch);
      const watch = isWatched ? new DecayWatch(backend, states.layers, ordered.length) : undefined;
      const hiddenStates = model.forward({
        inputIds: backend.tensor(Int32Array.from(tokenIds), [tokenIds.length]),
        activations: activations && backend.tensor(activations, [tokenIds.length, model.activationSize]),
        cache: watch?.cache ?? states.layers,
        kvCache: states.kvCache?.layers,
        lastHidden: states.lastHidden,
        metadata: {
          ...buildMamba2Metadata(backend, ordered, {
            chunkSize: this.#chunkSize,
            keptTokens: this.#keptTokens,
            withPositions: this.#withPositions,
            countReplayed: replayed && ((decodes) => replayed.count(decodes)),
          }),
          attention: states.kvCache && buildAttentionMetadata(backend, ordered, KV_BLOCK_SIZE, layoutOf(states)),
        },
      });
      const logDecays = watch?.gather(this.#group);
      if (!model.isLastStage) return this.#read({ activations: hiddenStates, logDecays }, sequences, ordered, states);
      const wanted = Int32Array.from(rows, ({ row }) => row);
      const selected = backend.gatherRows(hiddenStates, backend.tensor(wanted, [rows.length]));
      const sampledRows =
        sampling.inputs && stepTensors(sampling.inputs, (values) => backend.tensor(values, [values.length]));
      const kept = sampled && isTentative ? backend.empty([rows.length]) : sampled;
      const chosen = sampling.run(backend, model.computeLogits(selected), sampledRows, kept);
      return this.#read({ ...chosen, logDecays }, sequences, ordered, states);
    });
  }

  /** All ranks have the same results, and those of rank 0 are asked for. */
  async #read(
    { logits, sampled, logDecays, activations }: StepOutputs,
    sequences: readonly BatchSequence[],
    ordered: readonly BatchSequence[],
    { layers }: StateCache,
  ): Promise<StepOutput> {
    const { rank, size } = this.#group;
    if (rank !== 0) return { logits: new Float32Array() };
    const [values = new Float32Array(), tokens, sums, given] = await Promise.all([
      logits && this.#backend.read(logits, this.#takeSpare()),
      sampled && this.#backend.read(sampled),
      logDecays && this.#backend.read(logDecays),
      activations && this.#backend.read(activations),
    ]);
    const rows = sequences.filter(({ watch }) => watch).map((sequence) => ordered.indexOf(sequence));
    const decays = sums && selectLogDecays(sums, rows, layers, size);
    return { logits: values, sampled: tokens, logDecays: decays, activations: given };
  }

  #takeSampled(given: { readonly tokenIds: Tensor; readonly slots: Tensor }, sampled: Tensor | undefined) {
    const taken = sampled && this.#backend.sampling?.takeSampled(given.tokenIds, given.slots, sampled);
    if (!taken) throw new ArgumentError('A step continues from a token that was not sampled.', 'Pass its id.');
    return taken;
  }

  #takeSpare(): Float32Array<ArrayBuffer> | undefined {
    const spare = this.#spare;
    this.#spare = undefined;
    return spare;
  }
}

/** What the layout of a batch has besides what all models need. */
function layoutOf({ lastHidden }: StateCache): AttentionLayout {
  return { withPrevious: lastHidden !== undefined };
}

/** @param slot where its token is kept. @param i number of the row among those of its sequence that get logits. */
function logitsRow({ sampling: rows, givesLogits }: BatchSequence, slot: number, i = 0): LogitsRow {
  const sampling = rows?.[i];
  return { sampling: sampling && { ...sampling, slot }, isRead: givesLogits ?? sampling === undefined };
}

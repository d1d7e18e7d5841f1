import type { Backend } from '../backends/backend.ts';
import { DisposedError } from '../errors.ts';
import type { MambaCacheParams } from '../layers/mamba-mixer2.ts';
import {
  buildMamba2Metadata,
  checkSequences,
  decodeMetadata,
  isDecode,
  reorderBatch,
  type ScheduledSequence,
} from '../layers/mamba2-metadata.ts';
import type { CausalLM } from '../models/causal-lm.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Batch, Executor, ScheduledTokens } from './executor.ts';

/** A model with its state cache. */
interface Loaded {
  readonly model: CausalLM;
  readonly cache: readonly MambaCacheParams[];
  /** An int32 tensor of no elements. */
  readonly none: Tensor;
}

type Sequence = ScheduledTokens & ScheduledSequence;

/** Runs a model's steps on one rank: lays the batch out in rows, keeps the state cache, and picks rows for the head. */
export class ModelRunner implements Executor {
  readonly #backend: Backend;
  readonly #chunkSize: number;
  readonly #slots: number;
  /** Dropped on disposal, so that the memory goes even while somebody holds the runner. */
  #loaded: Loaded | undefined;

  constructor(backend: Backend, model: CausalLM, options: { readonly slots: number; readonly chunkSize: number }) {
    this.#backend = backend;
    this.#chunkSize = options.chunkSize;
    this.#slots = options.slots;
    const cache = model.stateShapes.map(({ conv, ssm }) => ({
      convState: backend.zeros([options.slots, ...conv]),
      ssmState: backend.zeros([options.slots, ...ssm]),
    }));
    this.#loaded = { model, cache, none: backend.tensor(new Int32Array(0), [0]) };
  }

  async execute(batch: Batch): Promise<Float32Array<ArrayBuffer>> {
    if (!this.#loaded) throw new DisposedError('The model was disposed of.', 'Load it again.');
    const sequences = batch.sequences.map((scheduled) => ({ ...scheduled, numTokens: scheduled.tokenIds.length }));
    checkSequences(sequences, this.#slots);
    if (sequences.length > 0 && sequences.every(isDecode)) return this.#decode(this.#loaded, sequences);
    return this.#mixed(this.#loaded, sequences, batch.logits);
  }

  /** One token of each sequence. The same for the same number of sequences, so that a backend can repeat it. */
  #decode({ model, cache, none }: Loaded, sequences: readonly Sequence[]): Promise<Float32Array<ArrayBuffer>> {
    const ids = Int32Array.from(sequences, ({ tokenIds }) => tokenIds[0]);
    const slots = Int32Array.from(sequences, ({ slot }) => slot);
    return this.#backend.step(`decode ${sequences.length}`, [ids, slots], ([inputIds, decodeSlots]) => {
      const metadata = decodeMetadata(decodeSlots, none, this.#chunkSize);
      return model.computeLogits(model.forward({ inputIds, cache, metadata }));
    });
  }

  #mixed(
    { model, cache }: Loaded,
    sequences: readonly Sequence[],
    logits: Batch['logits'],
  ): Promise<Float32Array<ArrayBuffer>> {
    const backend = this.#backend;
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
      return logits === 'last' ? all.slice(-1) : all;
    });
    return backend.scope(() => {
      const hiddenStates = model.forward({
        inputIds: backend.tensor(Int32Array.from(tokenIds), [tokenIds.length]),
        cache,
        metadata: buildMamba2Metadata(backend, ordered, { chunkSize: this.#chunkSize }),
      });
      const selected = backend.gatherRows(hiddenStates, backend.tensor(Int32Array.from(rows), [rows.length]));
      return backend.read(model.computeLogits(selected));
    });
  }

  async dispose(): Promise<void> {
    this.#loaded = undefined;
  }
}

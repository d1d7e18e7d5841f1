import type { Backend } from '../backends/backend.ts';
import { DisposedError } from '../errors.ts';
import type { MambaCacheParams } from '../layers/mamba-mixer2.ts';
import { buildMamba2Metadata, reorderBatch } from '../layers/mamba2-metadata.ts';
import type { CausalLM } from '../models/causal-lm.ts';
import type { Batch, Executor } from './executor.ts';

/** Runs a model's steps on one rank: lays the batch out in rows, keeps the state cache, and picks rows for the head. */
export class ModelRunner implements Executor {
  readonly #backend: Backend;
  readonly #chunkSize: number;
  /** Dropped on disposal, so that the memory goes even while somebody holds the runner. */
  #loaded: { readonly model: CausalLM; readonly cache: readonly MambaCacheParams[] } | undefined;

  constructor(backend: Backend, model: CausalLM, options: { readonly slots: number; readonly chunkSize: number }) {
    this.#backend = backend;
    this.#chunkSize = options.chunkSize;
    const cache = model.stateShapes.map(({ conv, ssm }) => ({
      convState: backend.zeros([options.slots, ...conv]),
      ssmState: backend.zeros([options.slots, ...ssm]),
    }));
    this.#loaded = { model, cache };
  }

  async execute(batch: Batch): Promise<Float32Array<ArrayBuffer>> {
    const backend = this.#backend;
    if (!this.#loaded) throw new DisposedError('The model was disposed of.', 'Load it again.');
    const { model, cache } = this.#loaded;
    const sequences = batch.sequences.map((scheduled) => ({ ...scheduled, numTokens: scheduled.tokenIds.length }));
    const ordered = reorderBatch(sequences, 'decode-first');
    const firstRow = new Map<object, number>();
    const tokenIds: number[] = [];
    for (const sequence of ordered) {
      firstRow.set(sequence, tokenIds.length);
      tokenIds.push(...sequence.tokenIds);
    }
    const rows = sequences.flatMap((sequence) => {
      const first = firstRow.get(sequence) ?? 0;
      const all = Array.from({ length: sequence.numTokens }, (_, i) => first + i);
      return batch.logits === 'last' ? all.slice(-1) : all;
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

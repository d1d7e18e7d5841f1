import type { Backend } from '../backends/backend.ts';
import { type ProcessGroup, singleProcess } from '../distributed/process-group.ts';
import { DisposedError } from '../errors.ts';
import { buildMamba2Metadata, reorderBatch } from '../layers/mamba2-metadata.ts';
import type { CausalLM } from '../models/causal-lm.ts';
import type { Batch, Executor, StateFootprint } from './executor.ts';
import { joinStateParts, StateCache, type StatePart } from './state-cache.ts';

export interface ModelRunnerOptions {
  /** Sequences whose state is kept at once. */
  readonly slots: number;
  readonly chunkSize: number;
  /** Default: one rank. */
  readonly group?: Pick<ProcessGroup, 'size' | 'rank'> | undefined;
}

/** Runs a model's steps on one rank: lays the batch out in rows, keeps the state cache, and picks rows for the head. */
export class ModelRunner implements Executor {
  /** `bytes` are those of this rank. */
  readonly stateFootprint: StateFootprint;
  readonly #backend: Backend;
  readonly #chunkSize: number;
  /** Dropped on disposal, so that the memory goes even while somebody holds the runner. */
  #loaded: { readonly model: CausalLM; readonly states: StateCache } | undefined;

  constructor(backend: Backend, model: CausalLM, { slots, chunkSize, group = singleProcess }: ModelRunnerOptions) {
    this.#backend = backend;
    this.#chunkSize = chunkSize;
    const states = new StateCache(backend, model, slots, group);
    this.stateFootprint = states.footprint;
    this.#loaded = { model, states };
  }

  async execute(batch: Batch): Promise<Float32Array<ArrayBuffer>> {
    const backend = this.#backend;
    const { model, states } = this.#usable();
    states.run(batch.commands ?? []);
    if (batch.sequences.length === 0) return new Float32Array();
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
      return (sequence.logits ?? batch.logits) === 'last' ? all.slice(-1) : all;
    });
    return backend.scope(() => {
      const hiddenStates = model.forward({
        inputIds: backend.tensor(Int32Array.from(tokenIds), [tokenIds.length]),
        cache: states.layers,
        metadata: buildMamba2Metadata(backend, ordered, { chunkSize: this.#chunkSize }),
      });
      const selected = backend.gatherRows(hiddenStates, backend.tensor(Int32Array.from(rows), [rows.length]));
      return backend.read(model.computeLogits(selected));
    });
  }

  async exportState(snapshot: number): Promise<Float32Array<ArrayBuffer>> {
    return joinStateParts(await this.exportStateParts(snapshot), this.stateFootprint.length);
  }

  /** This rank's parts of a snapshot's state. */
  async exportStateParts(snapshot: number): Promise<StatePart[]> {
    return this.#usable().states.exportParts(snapshot);
  }

  async importState(snapshot: number, state: Float32Array): Promise<void> {
    this.#usable().states.importWhole(snapshot, state);
  }

  async dispose(): Promise<void> {
    this.#loaded = undefined;
  }

  #usable(): { readonly model: CausalLM; readonly states: StateCache } {
    if (this.#loaded) return this.#loaded;
    throw new DisposedError('The model was disposed of.', 'Load it again.');
  }
}

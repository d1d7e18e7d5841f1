import type { Backend } from '../../backends/contract/backend.ts';
import { HostSavedSlot, type SavedSlot } from '../../backends/contract/slots.ts';
import type { ProcessGroup } from '../../distributed/process-group.ts';
import { ArgumentError, ShapeError } from '../../errors.ts';
import type { CacheScales } from '../../layers/attention/kv-cache-shape.ts';
import { mamba2StateRuns, mamba2StateShape, type StateRun } from '../../layers/mamba/mamba-state-shape.ts';
import { type PreviousTokenCache, previousTokenTaps } from '../../layers/mamba/previous-token.ts';
import type { MambaCacheParams } from '../../layers/mamba/state-space-mixer.ts';
import type { CausalLM } from '../../models/causal-lm.ts';
import type { KvCacheDType } from '../../tensor/kv-cache-dtype.ts';
import { FLOAT32_STATES, type StateDType, type StateStorage, stateBytes } from '../../tensor/state-dtype.ts';
import { elementCount, type Tensor } from '../../tensor/tensor.ts';
import { exportedLength, type StateCommand, type StateFootprint, type StatePlace } from './executor.ts';
import { KvCache } from './kv-cache.ts';
import type { StatePart } from './state-part.ts';

/** Released buffers to keep: with a full prefix cache, each new snapshot releases an old one in the same step. */
const MAX_SPARE = 4;

/** One state of a layer, with the runs of its values in the whole of all layers. */
interface LayerState {
  readonly tensor: Tensor;
  readonly slotLength: number;
  readonly runs: readonly StateRun[];
}

/** Number of sequences with a state in the cache, and of blocks for their keys and values. */
export interface StateCacheSize {
  readonly slots: number;
  /** Storage of SSM states; the inputs that convolutions need are float32. Default: float32. */
  readonly states?: StateStorage | undefined;
  /** 0 for a model without attention. */
  readonly numBlocks: number;
  /** Dtype of keys and values. Default: float32. */
  readonly kvCacheDtype?: KvCacheDType | undefined;
  /** Scales of keys and values, per attention layer. Default: 1. */
  readonly cacheScales?: readonly CacheScales[] | undefined;
  /** Tentative tokens of each slot whose inputs are kept. Default: 0, there are none. */
  readonly keptTokens?: number | undefined;
  /** Tokens, per mixer, that a slot's state may lack: see {@link replayedTokens}. Default: 0. */
  readonly replayed?: readonly number[] | undefined;
}

/** A slot whose state takes some of its tentative tokens. */
export type AdvancedSlot = Extract<StateCommand, { readonly type: 'advance' }>;

/** The states of all layers on one rank: slots and blocks that steps work in, and snapshots of slots. */
export class StateCache {
  /** One entry per mixer, for the model. */
  readonly layers: readonly MambaCacheParams[];
  /** Present if the model has layers of its own that guess tokens. */
  readonly lastHidden: PreviousTokenCache | undefined;
  /** Absent where no layer has attention. */
  readonly kvCache: KvCache | undefined;
  /** `bytes` are those of this rank. */
  readonly footprint: StateFootprint;
  readonly #backend: Backend;
  readonly #numBlocks: number;
  readonly #states: readonly LayerState[];
  readonly #snapshots = new Map<number, readonly SavedSlot[]>();
  /** Released ones, whose memory the next take. */
  readonly #spare: (readonly SavedSlot[])[] = [];

  constructor(
    backend: Backend,
    model: CausalLM,
    {
      slots,
      numBlocks,
      keptTokens = 0,
      states: storage = FLOAT32_STATES,
      kvCacheDtype: dtype = 'float32',
      cacheScales: scales,
      replayed = [],
    }: StateCacheSize,
    group: Pick<ProcessGroup, 'size' | 'rank'>,
  ) {
    this.#backend = backend;
    this.#numBlocks = numBlocks;
    const states: LayerState[] = [];
    let wholeLength = 0;
    let bytes = 0;
    const add = (
      shape: readonly number[],
      wholeShape: readonly number[],
      runs: readonly StateRun[],
      dtype: StateDType,
    ): Tensor => {
      const tensor = backend.zeros([slots, ...shape], dtype);
      bytes += stateBytes(dtype) * elementCount(shape);
      const offset = wholeLength;
      const placed = runs.map((run) => ({ ...run, wholeOffset: run.wholeOffset + offset }));
      states.push({ tensor, slotLength: elementCount(shape), runs: placed });
      wholeLength += elementCount(wholeShape);
      return tensor;
    };
    this.layers = model.stateShapes.map(({ conv, ssm }, layer) => {
      const size = model.stateSizes[layer];
      const whole = mamba2StateShape(size, 1);
      const runs = mamba2StateRuns(size, group.size, group.rank);
      const widths = keptTokens === 0 ? undefined : model.keptWidths[layer];
      return {
        convState: add(conv, whole.conv, runs.conv, 'float32'),
        ssmState: add(ssm, whole.ssm, runs.ssm, storage.dtype),
        kept: widths?.map((width) => backend.empty([slots * keptTokens, width])),
        replayed: replayed[layer] > 0 ? backend.empty([slots * replayed[layer], model.replayWidths[layer]]) : undefined,
      };
    });
    const { kvCacheSizes, predictorSize } = model;
    if (predictorSize > 0) {
      const shape = [predictorSize, 1];
      // All ranks have the same.
      const whole = [{ shardOffset: 0, wholeOffset: 0, length: predictorSize }];
      this.lastHidden = {
        state: add(shape, shape, whole, 'float32'),
        taps: backend.tensor(previousTokenTaps(predictorSize), [predictorSize, 2]),
        kept: keptTokens > 0 ? backend.empty([slots * keptTokens, predictorSize]) : undefined,
      };
    }
    this.#states = states;
    const blocks = { numBlocks, dtype, scales };
    this.kvCache = kvCacheSizes.length > 0 ? new KvCache(backend, kvCacheSizes, blocks, group) : undefined;
    this.footprint = { bytes, length: wholeLength, kvCache: this.kvCache?.footprint };
  }

  /**
   * @param advance takes tentative tokens into the states of some slots.
   * @throws ArgumentError on a slot or snapshot that is not there.
   */
  run(commands: readonly StateCommand[], advance: (slots: readonly AdvancedSlot[]) => void): void {
    // Neighbours are carried out together: of most steps all.
    let advanced: AdvancedSlot[] = [];
    const finish = () => {
      if (advanced.length > 0) advance(advanced);
      advanced = [];
    };
    for (const command of commands) {
      if (command.type === 'advance') {
        advanced.push(command);
      } else {
        finish();
        this.#run(command);
      }
    }
    finish();
  }

  async exportParts(place: StatePlace): Promise<StatePart[]> {
    const saved = place.id === undefined ? undefined : this.#saved(place.id);
    const keysAndValues = this.kvCache?.exportParts(place, saved ? this.footprint.length : 0) ?? [];
    const parts = (saved ? this.#states : []).map(async ({ runs }, i) => {
      const values = (await saved?.[i].read()) ?? new Float32Array();
      return runs.map(({ shardOffset, wholeOffset, length }) => ({
        offset: wholeOffset,
        values: values.slice(shardOffset, shardOffset + length),
      }));
    });
    return [...(await Promise.all(parts)).flat(), ...(await keysAndValues)];
  }

  /** Takes this rank's part of a whole state as a snapshot. */
  importWhole(place: StatePlace, whole: Float32Array): void {
    checkStateLength(whole, this.footprint, place);
    this.kvCache?.importWhole(place, whole, place.id === undefined ? 0 : this.footprint.length);
    if (place.id === undefined) return;
    const saved = this.#states.map(({ runs, slotLength }) => {
      const values = new Float32Array(slotLength);
      for (const { shardOffset, wholeOffset, length } of runs) {
        values.set(whole.subarray(wholeOffset, wholeOffset + length), shardOffset);
      }
      return new HostSavedSlot(values);
    });
    this.#snapshots.set(place.id, saved);
  }

  #run(command: Exclude<StateCommand, AdvancedSlot>): void {
    switch (command.type) {
      case 'copy':
        for (const { tensor } of this.#states) this.#backend.copySlot(tensor, command.from, command.to);
        break;
      case 'save':
        this.#snapshots.set(command.snapshot, this.#save(command.slot));
        break;
      case 'load': {
        const saved = this.#saved(command.snapshot);
        for (const [i, { tensor }] of this.#states.entries()) this.#backend.loadSlot(tensor, command.slot, saved[i]);
        break;
      }
      case 'release':
        this.#release(command.snapshot);
        break;
      case 'reset':
        // The memory that is kept for later may be enough.
        for (const saved of [...this.#snapshots.values(), ...this.#spare]) for (const slot of saved) slot.dispose();
        this.#snapshots.clear();
        this.#spare.length = 0;
        break;
      case 'copyBlock':
        // A stage without attention has no blocks, but others have.
        if (this.#numBlocks === 0) {
          throw new ArgumentError('The batch copies a block, but this model has no key-value cache.');
        }
        this.kvCache?.copyBlock(command.from, command.to);
    }
  }

  #save(slot: number): SavedSlot[] {
    const spare = this.#spare.pop();
    const saved: SavedSlot[] = [];
    try {
      for (const [i, { tensor }] of this.#states.entries()) {
        saved.push(this.#backend.saveSlot(tensor, slot, spare?.[i]));
      }
      return saved;
    } catch (error) {
      // Memory was missing for the rest.
      for (const each of saved) each.dispose();
      throw error;
    }
  }

  #release(snapshot: number): void {
    const saved = this.#saved(snapshot);
    this.#snapshots.delete(snapshot);
    if (this.#spare.length < MAX_SPARE) this.#spare.push(saved);
    else for (const slot of saved) slot.dispose();
  }

  #saved(snapshot: number): readonly SavedSlot[] {
    const saved = this.#snapshots.get(snapshot);
    if (saved) return saved;
    throw new ArgumentError(`There is no snapshot ${snapshot}.`, 'It was released, or never taken.');
  }
}

/** @throws ShapeError */
export function checkStateLength(
  state: Float32Array,
  footprint: StateFootprint,
  place: Pick<StatePlace, 'id' | 'length'>,
): void {
  const length = exportedLength(footprint, place);
  if (state.length === length) return;
  throw new ShapeError(
    `The state has ${state.length} numbers; a state of this model after ${place.length} tokens has ${length}.`,
  );
}

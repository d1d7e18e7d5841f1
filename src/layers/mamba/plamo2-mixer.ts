import { ShardingError } from '../../errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { ColumnParallelLinear, RowParallelLinear } from '../linear/linear.ts';
import { type RankSum, sumOverRanks } from '../linear/rank-sum.ts';
import { RMSNorm } from '../norm/rms-norm.ts';
import type { LayerContext } from '../parameters/layer-context.ts';
import { type Parameter, prefixed } from '../parameters/parameter.ts';
import type { QuantizationConfig } from '../parameters/quantization.ts';
import { tensorWeight, type Weight } from '../parameters/weight.ts';
import { alternatingWeightLoader, composedWeightLoader, shardedWeightLoader } from '../parameters/weight-loaders.ts';
import {
  batchRows,
  fillLogDecays,
  keepInputs,
  keptInputs,
  keptSequences,
  prefillSequences,
  type RoundedRows,
  replayOf,
  roundedRows,
  type ScanArgs,
  type SequenceArgs,
  stochasticRounding,
  takeReplayed,
} from './batch-rows.ts';
import { DepthwiseConv1d } from './depthwise-conv1d.ts';
import { GatedOutProjection } from './gated-out-projection.ts';
import { type MambaStateShape, type MambaStateSize, mamba2StateShape } from './mamba-state-shape.ts';
import type { KeptRows, Mamba2Metadata, ReplayedRows } from './mamba2-metadata.ts';
import { type MambaCacheParams, requireCache, type StateSpaceMixer } from './state-space-mixer.ts';

/** Sizes are those of the whole layer, over all ranks. */
export interface Plamo2MixerOptions {
  readonly hiddenSize: number;
  readonly numHeads: number;
  readonly headDim: number;
  readonly ssmStateSize: number;
  readonly convKernelSize: number;
  /** Columns from which the time steps of all heads are projected. */
  readonly timeStepRank: number;
  readonly rmsNormEps: number;
  readonly prefix: string;
  readonly quantConfig?: QuantizationConfig | undefined;
}

/** Δ, B and C of some rows. */
interface Selection {
  /** (T, heads of this rank) */
  readonly dt: Tensor;
  /** (T, N) */
  readonly B: Tensor;
  /** (T, N) */
  readonly C: Tensor;
}

/**
 * PLaMo 2's mixer: Mamba-2's recurrence with one group, whose Δ, B and C are projected from the convolved x, as in the
 * first Mamba, and normalised each on its own. The output is gated but not normalised.
 *
 * Heads are divided among the ranks; B and C are the same on all of them.
 */
export class Plamo2Mixer implements StateSpaceMixer {
  readonly stateSize: MambaStateSize;
  readonly #context: LayerContext;
  readonly #stateShape: MambaStateShape;
  readonly #roundedRows: RoundedRows;
  /** Columns of the gate and of x on this rank. */
  readonly #intermediateSize: number;
  readonly #numHeads: number;
  readonly #ssmStateSize: number;
  readonly #timeStepRank: number;
  readonly #inProj: ColumnParallelLinear;
  readonly #conv1d: DepthwiseConv1d;
  readonly #bcdtProj: RowParallelLinear;
  readonly #dtProj: ColumnParallelLinear;
  readonly #norms: Readonly<Record<'dt' | 'B' | 'C', RMSNorm>>;
  readonly #A: Weight<Tensor>;
  readonly #D: Weight<Tensor>;
  readonly #dtBias: Weight<Tensor>;
  readonly #outProj: GatedOutProjection;

  /** @throws ShardingError when the ranks can't share the heads, DuplicateLayerError when the prefix is taken. */
  constructor(context: LayerContext, options: Plamo2MixerOptions) {
    const { hiddenSize, numHeads, headDim, ssmStateSize, convKernelSize, timeStepRank, rmsNormEps, prefix } = options;
    const { size, rank } = context.group;
    if (numHeads % size !== 0) {
      throw new ShardingError(`${numHeads} heads can't be divided among ${size} ranks.`, 'The ranks divide the heads.');
    }
    context.register(prefix, this);
    const intermediateSize = numHeads * headDim;
    const linear = (name: string) => ({
      bias: false,
      prefix: `${prefix}.${name}`,
      quantConfig: options.quantConfig,
    });
    this.#context = context;
    this.stateSize = {
      intermediateSize,
      nGroups: 0,
      numHeads,
      headDim,
      stateSize: ssmStateSize,
      convKernel: convKernelSize,
    };
    this.#stateShape = mamba2StateShape(this.stateSize, size);
    this.#intermediateSize = intermediateSize / size;
    this.#roundedRows = roundedRows(prefix, rank * this.#intermediateSize);
    this.#numHeads = numHeads / size;
    this.#ssmStateSize = ssmStateSize;
    this.#timeStepRank = timeStepRank;
    // Each head's gate is stored before its x; here the gates of all heads come first.
    const gatesFirst = alternatingWeightLoader({ parts: 2, blocks: numHeads, blockSize: headDim }, size, rank);
    this.#inProj = new ColumnParallelLinear(context, hiddenSize, 2 * intermediateSize, linear('in_proj'), gatesFirst);
    const ofHeads = shardedWeightLoader(0, size, rank);
    this.#conv1d = new DepthwiseConv1d(context, {
      checkpointDim: intermediateSize,
      dim: this.#intermediateSize,
      taps: convKernelSize,
      useBias: false,
      activation: 'silu',
      loader: ofHeads,
    });
    const selected = timeStepRank + 2 * ssmStateSize;
    this.#bcdtProj = new RowParallelLinear(context, intermediateSize, selected, linear('bcdt_proj'));
    this.#dtProj = new ColumnParallelLinear(context, timeStepRank, numHeads, linear('dt_proj'));
    this.#norms = {
      dt: new RMSNorm(context, timeStepRank, rmsNormEps),
      B: new RMSNorm(context, ssmStateSize, rmsNormEps),
      C: new RMSNorm(context, ssmStateSize, rmsNormEps),
    };
    const perHead = { owner: 'A Plamo2Mixer', shape: [numHeads], ownShape: [numHeads / size], loader: ofHeads };
    const toA = composedWeightLoader(ofHeads, (logA) => -Math.exp(logA));
    this.#A = tensorWeight(context, 'logDecay', { ...perHead, loader: toA });
    this.#D = tensorWeight(context, 'skip', perHead);
    this.#dtBias = tensorWeight(context, 'stepBias', perHead);
    this.#outProj = new GatedOutProjection(context, {
      ...linear('out_proj'),
      intermediateSize,
      hiddenSize,
      normGroups: 1,
      useRmsNorm: false,
      rmsNormEps,
      normBeforeGate: false,
    });
  }

  getStateShape(): MambaStateShape {
    return this.#stateShape;
  }

  get keptWidths(): readonly number[] {
    return [this.#intermediateSize, this.#numHeads, this.#ssmStateSize];
  }

  get replayWidth(): number {
    return this.#intermediateSize + this.#ssmStateSize + this.#numHeads;
  }

  takeReplayed(cache: MambaCacheParams, rows: ReplayedRows): void {
    takeReplayed(this.#context.backend, cache, rows, this.#decays, this.#roundedRows);
  }

  advance(cache: MambaCacheParams, rows: KeptRows, chunkSize: number): void {
    const { backend } = this.#context;
    const [x, dt, B] = keptInputs(backend, cache, rows);
    const sequences = keptSequences(rows, true);
    const unread = backend.empty([rows.numTokens, this.#intermediateSize]);
    // C only makes outputs.
    this.#scan(this.#convolve(x, cache, sequences), { dt, B, C: B }, unread, cache, { ...sequences, chunkSize });
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    yield* prefixed('in_proj', this.#inProj, 'inProj');
    yield* prefixed('conv1d', this.#conv1d, 'conv');
    yield* prefixed('bcdt_proj', this.#bcdtProj, 'inProj');
    yield* prefixed('dt_proj', this.#dtProj, 'inProj');
    for (const [name, norm] of Object.entries(this.#norms)) {
      for (const [, parameter] of norm.parameters()) yield [`${name}_norm_weight`, parameter];
    }
    yield ['A_log', this.#A.parameter];
    yield ['D', this.#D.parameter];
    yield ['dt_bias', this.#dtBias.parameter];
    yield* this.#outProj.parameters();
  }

  /**
   * @param hiddenStates (T, hiddenSize), rows in the metadata's order.
   * @param cache this layer's state; updated in place.
   * @param metadata none: a profile run, which skips convolution and scan and serves for its shapes only.
   * @returns (T, hiddenSize), the same on all ranks. Rows of padding sequences mean nothing.
   */
  forward(hiddenStates: Tensor, cache?: MambaCacheParams, metadata?: Mamba2Metadata): Tensor {
    return sumOverRanks(this.#context.backend, [this.#forwardPartial(hiddenStates, cache, metadata)])[0];
  }

  #forwardPartial(hiddenStates: Tensor, cache?: MambaCacheParams, metadata?: Mamba2Metadata): RankSum {
    const { backend } = this.#context;
    const projected = this.#inProj.forward(hiddenStates);
    const [gate, x] = backend.splitColumns(projected, [this.#intermediateSize, this.#intermediateSize]);
    return this.#outProj.forwardPartial(metadata ? this.#mix(x, requireCache(cache), metadata) : x, gate);
  }

  /** Decode rows take the one-step operations, prefill rows the sequence operations; y keeps the rows' order. */
  #mix(x: Tensor, cache: MambaCacheParams, metadata: Mamba2Metadata): Tensor {
    const { backend } = this.#context;
    const { decodes, prefills, tentative } = batchRows(metadata, x.shape[0]);
    const { chunkSize } = metadata;
    const y = backend.empty([x.shape[0], this.#intermediateSize]);
    if (prefills) {
      const rows = (t: Tensor) => backend.sliceRows(t, prefills.begin, prefills.end);
      const { dt } = this.#prefill(rows(x), rows(y), cache, {
        ...prefillSequences(metadata),
        roundingPositions: metadata.prefillPositions,
        positions: metadata.scanPositions,
        chunkSize,
      });
      const decays = { ...this.#decayArgs(dt), queryStartLoc: metadata.prefillStartLoc };
      fillLogDecays(backend, cache.logDecays, prefills, decays);
    }
    if (decodes) {
      const rows = (t: Tensor) => backend.sliceRows(t, decodes.begin, decodes.end);
      const { dt } = this.#decode(rows(x), rows(y), cache, metadata);
      fillLogDecays(backend, cache.logDecays, decodes, this.#decayArgs(dt));
    }
    if (tentative && metadata.tentative) {
      const rows = (t: Tensor) => backend.sliceRows(t, tentative.begin, tentative.end);
      const sequences = keptSequences(metadata.tentative, false);
      const { dt, B } = this.#prefill(rows(x), rows(y), cache, { ...sequences, chunkSize });
      keepInputs(backend, cache, [rows(x), dt, B], metadata.tentative);
    }
    return y;
  }

  #prefill(x: Tensor, out: Tensor, cache: MambaCacheParams, args: ScanArgs): Selection {
    const { chunkSize: _, roundingPositions: _rounding, positions: _positions, ...sequences } = args;
    const convolved = this.#convolve(x, cache, sequences);
    const selection = this.#select(convolved);
    this.#scan(convolved, selection, out, cache, args);
    return selection;
  }

  #convolve(x: Tensor, cache: MambaCacheParams, sequences: SequenceArgs): Tensor {
    const { backend } = this.#context;
    return backend.causalConv1dFn({ ...sequences, ...this.#conv1d.kernelArgs, x, convStates: cache.convState });
  }

  #scan(x: Tensor, selection: Selection, out: Tensor, cache: MambaCacheParams, args: ScanArgs): void {
    const { backend } = this.#context;
    const { roundingPositions, ...scanned } = args;
    backend.mambaChunkScan({
      ...scanned,
      ...this.#stateSpaceArgs(x, selection, out),
      rounding: stochasticRounding(this.#roundedRows, roundingPositions),
      ssmStates: cache.ssmState,
    });
  }

  #decode(x: Tensor, out: Tensor, cache: MambaCacheParams, metadata: Mamba2Metadata): Selection {
    const { backend } = this.#context;
    const convolved = backend.causalConv1dUpdate({
      ...this.#conv1d.kernelArgs,
      x,
      convState: cache.convState,
      convStateIndices: metadata.decodeSlots,
    });
    const selection = this.#select(convolved);
    backend.selectiveStateUpdate({
      ...this.#stateSpaceArgs(convolved, selection, out),
      state: cache.ssmState,
      stateBatchIndices: metadata.decodeSlots,
      replay: replayOf(cache, metadata.decodeReplayCounts),
      rounding: stochasticRounding(this.#roundedRows, metadata.decodePositions),
    });
    return selection;
  }

  /** x (T, heads of this rank * P), convolved. */
  #select(x: Tensor): Selection {
    const N = this.#ssmStateSize;
    const [B, C, steps] = this.#context.backend.splitColumns(this.#bcdtProj.forward(x), [N, N, this.#timeStepRank]);
    return {
      dt: this.#dtProj.forward(this.#norms.dt.forward(steps)),
      B: this.#norms.B.forward(B),
      C: this.#norms.C.forward(C),
    };
  }

  #stateSpaceArgs(x: Tensor, { dt, B, C }: Selection, out: Tensor) {
    return { ...this.#decayArgs(dt), x, B, C, nGroups: 1, D: this.#D.get(), out };
  }

  #decayArgs(dt: Tensor) {
    return { dt, ...this.#decays };
  }

  get #decays() {
    return { A: this.#A.get(), dtBias: this.#dtBias.get(), dtSoftplus: true };
  }
}

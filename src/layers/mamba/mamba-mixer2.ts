import { ShardingError } from '../../errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { ColumnParallelLinear } from '../linear/linear.ts';
import { type RankSum, sumOverRanks } from '../linear/rank-sum.ts';
import type { LayerContext } from '../parameters/layer-context.ts';
import { type Parameter, prefixed } from '../parameters/parameter.ts';
import { tensorWeight, type Weight } from '../parameters/weight.ts';
import {
  composedWeightLoader,
  extraReplicasForShards,
  type ShardSpec,
  shardedWeightLoader,
  stackedWeightLoader,
} from '../parameters/weight-loaders.ts';
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
  stochasticRounding,
  takeReplayed,
} from './batch-rows.ts';
import { DepthwiseConv1d } from './depthwise-conv1d.ts';
import { GatedOutProjection } from './gated-out-projection.ts';
import { checkMixerOptions, type MambaMixer2Options } from './mamba-mixer2-options.ts';
import { type MambaStateShape, type MambaStateSize, mamba2StateShape } from './mamba-state-shape.ts';
import type { KeptRows, Mamba2Metadata, ReplayedRows } from './mamba2-metadata.ts';
import { type MambaCacheParams, requireCache, type StateSpaceMixer } from './state-space-mixer.ts';

/**
 * The Mamba-2 mixer: Δ, A, B, C and D of the state-space model, applied to a batch that mixes prefill and decode.
 * A and D do not depend on the input; Δ, B and C do, which is what makes the model selective (arXiv:2312.00752, 3.5.2).
 *
 * Implements vLLM 0.9.2's `MambaMixer2` (`vllm/model_executor/layers/mamba/mamba_mixer2.py`). Heads are divided among
 * the ranks; groups follow their heads and are repeated where ranks share one, see {@link extraReplicasForShards}.
 *
 * @example
 * ```ts
 * const context = new LayerContext(new ReferenceBackend(), singleProcess, 'float32');
 * const mixer = new MambaMixer2(context, {
 *   hiddenSize: 256,
 *   ssmStateSize: 128,
 *   convKernelSize: 4,
 *   intermediateSize: 512,
 *   numHeads: 8,
 *   headDim: 64,
 *   useConvBias: true,
 *   useBias: false,
 * });
 * const table = new ParameterTable(mixer);
 * for (const name of table.names()) {
 *   table.load(name, new Float32Array(table.shape(name).reduce((product, n) => product * n, 1)));
 * }
 * ```
 */
export class MambaMixer2 implements StateSpaceMixer {
  readonly prefix: string;
  readonly chunkSize: number;
  /** Sizes that decide this layer's state, over all ranks. */
  readonly stateSize: MambaStateSize;
  readonly #context: LayerContext;
  readonly #timeStepLimit: readonly [number, number];
  readonly #stateShape: MambaStateShape;
  readonly #roundedRows: RoundedRows;
  /** Columns of the gate and of x on this rank. All sizes below are those of this rank, too. */
  readonly #intermediateSize: number;
  readonly #convDim: number;
  readonly #numHeads: number;
  readonly #nGroups: number;
  readonly #groupStateSize: number;
  readonly #inProj: ColumnParallelLinear;
  readonly #conv1d: DepthwiseConv1d;
  readonly #nameOfA: 'A' | 'A_log';
  readonly #A: Weight<Tensor>;
  readonly #D: Weight<Tensor>;
  readonly #dtBias: Weight<Tensor>;
  readonly #outProj: GatedOutProjection;

  /**
   * @throws ArgumentError when the sizes contradict each other, ShardingError when the ranks can't share the heads,
   * DuplicateLayerError when the prefix is taken.
   */
  constructor(context: LayerContext, options: MambaMixer2Options) {
    const { hiddenSize, ssmStateSize, convKernelSize, intermediateSize, useConvBias, useBias, quantConfig } = options;
    const { nGroups = 1, numHeads = 128, headDim = 64 } = options;
    const { size, rank } = context.group;
    checkMixerOptions({ ...options, nGroups, numHeads, headDim });
    if (numHeads % size !== 0) {
      throw new ShardingError(`${numHeads} heads can't be divided among ${size} ranks.`, 'The ranks divide the heads.');
    }
    this.prefix = options.prefix ?? '';
    this.chunkSize = options.chunkSize ?? -1;
    context.register(this.prefix, this);

    this.#context = context;
    this.#timeStepLimit = options.timeStepLimit ?? [0, Number.POSITIVE_INFINITY];
    this.stateSize = {
      intermediateSize,
      nGroups,
      numHeads,
      headDim,
      stateSize: ssmStateSize,
      convKernel: convKernelSize,
    };
    this.#stateShape = mamba2StateShape(this.stateSize, size);

    const fullGroups = nGroups + extraReplicasForShards(nGroups, size);
    this.#intermediateSize = intermediateSize / size;
    this.#roundedRows = roundedRows(this.prefix, rank * this.#intermediateSize);
    this.#convDim = this.#stateShape.conv[0];
    this.#numHeads = numHeads / size;
    this.#nGroups = fullGroups / size;
    this.#groupStateSize = this.#nGroups * ssmStateSize;

    // Both fused tensors stack parts that are sharded each on its own.
    const intermediate: ShardSpec = { fullDim: intermediateSize, extra: 0, blockSize: 1 };
    const groups: ShardSpec = {
      fullDim: fullGroups * ssmStateSize,
      extra: (fullGroups - nGroups) * ssmStateSize,
      blockSize: ssmStateSize,
    };
    const heads: ShardSpec = { fullDim: numHeads, extra: 0, blockSize: 1 };
    const convDim = intermediateSize + 2 * nGroups * ssmStateSize;
    const fullConvDim = intermediateSize + 2 * fullGroups * ssmStateSize;

    this.#inProj = new ColumnParallelLinear(
      context,
      hiddenSize,
      intermediateSize + fullConvDim + numHeads,
      { bias: useBias, prefix: `${this.prefix}.in_proj`, quantConfig },
      stackedWeightLoader([intermediate, intermediate, groups, groups, heads], size, rank),
      intermediateSize + convDim + numHeads,
    );
    this.#conv1d = new DepthwiseConv1d(context, {
      checkpointDim: convDim,
      dim: this.#convDim,
      taps: convKernelSize,
      useBias: useConvBias,
      activation: options.activation ?? 'silu',
      loader: stackedWeightLoader([intermediate, groups, groups], size, rank),
    });
    const ofHeads = shardedWeightLoader(0, size, rank);
    const perHead = { owner: 'A MambaMixer2', shape: [numHeads], ownShape: [this.#numHeads], loader: ofHeads };
    // GGUF has A itself, of which a float32 logarithm would lose the last bits.
    const storesA = context.isStored(`${this.prefix}.A`);
    const toA = composedWeightLoader(ofHeads, (logA) => -Math.exp(logA));
    this.#nameOfA = storesA ? 'A' : 'A_log';
    this.#A = tensorWeight(context, 'logDecay', { ...perHead, loader: storesA ? ofHeads : toA });
    this.#D = tensorWeight(context, 'skip', perHead);
    this.#dtBias = tensorWeight(context, 'stepBias', perHead);
    this.#outProj = new GatedOutProjection(context, {
      intermediateSize,
      hiddenSize,
      normGroups: options.normGroups ?? nGroups,
      useRmsNorm: options.useRmsNorm ?? true,
      rmsNormEps: options.rmsNormEps ?? 1e-5,
      normBeforeGate: options.normBeforeGate ?? false,
      bias: options.useOutBias ?? useBias,
      prefix: `${this.prefix}.out_proj`,
      quantConfig,
    });
  }

  /** Shapes of one sequence's state in this layer, on this rank. */
  getStateShape(): MambaStateShape {
    return this.#stateShape;
  }

  get keptWidths(): readonly number[] {
    return [this.#convDim, this.#numHeads];
  }

  get replayWidth(): number {
    return this.#intermediateSize + this.#groupStateSize + this.#numHeads;
  }

  takeReplayed(cache: MambaCacheParams, rows: ReplayedRows): void {
    takeReplayed(this.#context.backend, cache, rows, this.#decays, this.#roundedRows);
  }

  advance(cache: MambaCacheParams, rows: KeptRows, chunkSize: number): void {
    const { backend } = this.#context;
    const [xBC, dt] = keptInputs(backend, cache, rows);
    const unread = backend.empty([rows.numTokens, this.#intermediateSize]);
    this.#prefill(xBC, dt, unread, cache, { ...keptSequences(rows, true), chunkSize });
  }

  /** Columns of the in-projection on this rank: gate, x, B, C and dt. */
  get projectionSizes(): readonly number[] {
    return [this.#intermediateSize, this.#intermediateSize, this.#groupStateSize, this.#groupStateSize, this.#numHeads];
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    yield* prefixed('in_proj', this.#inProj, 'inProj');
    yield* prefixed('conv1d', this.#conv1d, 'conv');
    yield [this.#nameOfA, this.#A.parameter];
    yield ['D', this.#D.parameter];
    yield ['dt_bias', this.#dtBias.parameter];
    yield* this.#outProj.parameters();
  }

  /**
   * @param hiddenStates (T, hiddenSize), rows in the metadata's order.
   * @param cache this layer's state; updated in place.
   * @param metadata none: a profile run, which skips convolution and scan and serves for its shapes only.
   * @param mupVector (this rank's in-projection columns): factors for them (Falcon-H1).
   * @returns (T, hiddenSize), the same on all ranks. Rows of padding sequences mean nothing.
   */
  forward(hiddenStates: Tensor, cache?: MambaCacheParams, metadata?: Mamba2Metadata, mupVector?: Tensor): Tensor {
    return sumOverRanks(this.#context.backend, [this.forwardPartial(hiddenStates, cache, metadata, mupVector)])[0];
  }

  /** {@link forward} without the sum over the ranks. */
  forwardPartial(x: Tensor, cache?: MambaCacheParams, metadata?: Mamba2Metadata, mupVector?: Tensor): RankSum {
    const { backend } = this.#context;

    // 1. In-projection: (T, hidden) → (T, [gate | x B C | dt])
    const projected = this.#inProj.forward(x);
    const scaled = mupVector ? backend.mulColumns(projected, mupVector) : projected;
    const [gate, xBC, dt] = backend.splitColumns(scaled, [this.#intermediateSize, this.#convDim, this.#numHeads]);

    // 2. and 3. Convolution and state-space model: (T, convDim), (T, H) → (T, intermediate)
    const y = metadata ? this.#mix(xBC, dt, requireCache(cache), metadata) : this.#splitXBC(xBC)[0];

    // 4. Gated norm, and 5. out-projection: (T, intermediate) → (T, hidden)
    return this.#outProj.forwardPartial(y, gate);
  }

  /** Decode rows take the one-step operations, prefill rows the sequence operations; y keeps the rows' order. */
  #mix(xBC: Tensor, dt: Tensor, cache: MambaCacheParams, metadata: Mamba2Metadata): Tensor {
    const { backend } = this.#context;
    const { decodes, prefills, tentative } = batchRows(metadata, xBC.shape[0]);
    const { chunkSize } = metadata;
    const y = backend.empty([xBC.shape[0], this.#intermediateSize]);
    if (prefills) {
      const rows = (t: Tensor) => backend.sliceRows(t, prefills.begin, prefills.end);
      this.#prefill(rows(xBC), rows(dt), rows(y), cache, {
        ...prefillSequences(metadata),
        roundingPositions: metadata.prefillPositions,
        positions: metadata.scanPositions,
        chunkSize,
      });
      const decays = { ...this.#decayArgs(rows(dt)), queryStartLoc: metadata.prefillStartLoc };
      fillLogDecays(backend, cache.logDecays, prefills, decays);
    }
    if (decodes) {
      const rows = (t: Tensor) => backend.sliceRows(t, decodes.begin, decodes.end);
      this.#decode(rows(xBC), rows(dt), rows(y), cache, metadata);
      fillLogDecays(backend, cache.logDecays, decodes, this.#decayArgs(rows(dt)));
    }
    if (tentative && metadata.tentative) {
      const rows = (t: Tensor) => backend.sliceRows(t, tentative.begin, tentative.end);
      keepInputs(backend, cache, [rows(xBC), rows(dt)], metadata.tentative);
      const sequences = keptSequences(metadata.tentative, false);
      this.#prefill(rows(xBC), rows(dt), rows(y), cache, { ...sequences, chunkSize });
    }
    return y;
  }

  #prefill(xBC: Tensor, dt: Tensor, out: Tensor, cache: MambaCacheParams, args: ScanArgs): void {
    const { chunkSize, roundingPositions, positions, ...sequences } = args;
    const { backend } = this.#context;
    const convolved = backend.causalConv1dFn({
      ...sequences,
      ...this.#conv1d.kernelArgs,
      x: xBC,
      convStates: cache.convState,
    });
    backend.mambaChunkScan({
      ...sequences,
      ...this.#stateSpaceArgs(this.#conv1d.activate(convolved), dt, out),
      ssmStates: cache.ssmState,
      rounding: stochasticRounding(this.#roundedRows, roundingPositions),
      positions,
      chunkSize,
    });
  }

  #decode(xBC: Tensor, dt: Tensor, out: Tensor, cache: MambaCacheParams, metadata: Mamba2Metadata): void {
    const { backend } = this.#context;
    const convolved = backend.causalConv1dUpdate({
      ...this.#conv1d.kernelArgs,
      x: xBC,
      convState: cache.convState,
      convStateIndices: metadata.decodeSlots,
    });
    backend.selectiveStateUpdate({
      ...this.#stateSpaceArgs(this.#conv1d.activate(convolved), dt, out),
      state: cache.ssmState,
      stateBatchIndices: metadata.decodeSlots,
      replay: replayOf(cache, metadata.decodeReplayCounts),
      rounding: stochasticRounding(this.#roundedRows, metadata.decodePositions),
    });
  }

  #stateSpaceArgs(xBC: Tensor, dt: Tensor, out: Tensor) {
    const [x, B, C] = this.#splitXBC(xBC);
    return { ...this.#decayArgs(dt), x, B, C, nGroups: this.#nGroups, D: this.#D.get(), out };
  }

  #decayArgs(dt: Tensor) {
    return { dt, ...this.#decays };
  }

  get #decays() {
    return { A: this.#A.get(), dtBias: this.#dtBias.get(), dtSoftplus: true, dtLimit: this.#timeStepLimit };
  }

  /** (T, convDim) → x (T, H*P), B (T, G*N), C (T, G*N) */
  #splitXBC(xBC: Tensor): Tensor[] {
    return this.#context.backend.splitColumns(xBC, [
      this.#intermediateSize,
      this.#groupStateSize,
      this.#groupStateSize,
    ]);
  }
}

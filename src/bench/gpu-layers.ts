import type { WebGpuBackend } from '../backends/webgpu/webgpu-backend.ts';
import { singleProcess } from '../distributed/process-group.ts';
import { MambaMixer2 } from '../layers/mamba/mamba-mixer2.ts';
import { buildMamba2Metadata, decodeMetadata, type Mamba2Metadata } from '../layers/mamba/mamba2-metadata.ts';
import type { MambaCacheParams } from '../layers/mamba/state-space-mixer.ts';
import { RMSNorm } from '../layers/norm/rms-norm.ts';
import { LayerContext } from '../layers/parameters/layer-context.ts';
import { ParameterTable, prefixed } from '../layers/parameters/parameter.ts';
import { type Mamba2Config, readMamba2Config } from '../models/mamba2-config.ts';
import type { WeightDType } from '../tensor/dtype.ts';
import type { StateDType } from '../tensor/state-dtype.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { ModelShape } from './model-shapes.ts';
import { MODEL_SHAPES } from './model-shapes.ts';
import { median, type Spread, spreadOf } from './spread.ts';
import { SyntheticWeight } from './synthetic-weights.ts';

/** Bytes of weights that no cache holds: enough layers for that take turns. */
const BYTES_IN_TURN = 120e6;
/** Steps are timed when the device has been busy for so long: it idles at low clocks. */
export const WARM_UP_MS = 1500;
/** Rounds of all steps by the wall clock, and the time after which no further round begins. */
const ROUNDS = 5;
const MAX_WALL_MS = 1500;
/** Number of rows above which steps have fewer layers. */
const MANY_ROWS = 16;
const MANY_LAYERS = 16;
const VALUES_AT_ONCE = 1 << 22;

/** Times of one mixer layer (norm, mixer, residual), in microseconds. */
export interface LayerTime {
  readonly work: 'decode' | 'prefill';
  /** Sequences to decode, or tokens of one prompt. */
  readonly rows: number;
  readonly steps: number;
  /** Times of steps by the device's clock. */
  readonly gpu: Spread;
  /** Times by the wall clock, of rounds of all steps that were submitted ahead. */
  readonly wall: Spread;
  /** The dispatches of a layer, timed one by one, which adds some microseconds to each. */
  readonly dispatches: readonly { readonly name: string; readonly microseconds: number }[];
}

interface Layer {
  readonly norm: RMSNorm;
  readonly mixer: MambaMixer2;
}

/** Mixer layers of a published shape with synthetic weights, on a GPU. */
export class GpuLayers {
  readonly config: Mamba2Config;
  readonly count: number;
  /** Bytes of a layer's linear weights. */
  readonly weightBytes: number;
  readonly #backend: WebGpuBackend;
  readonly #layers: readonly Layer[];
  readonly #stateDType: StateDType;
  readonly #none: Tensor;
  readonly #probe: Tensor;

  private constructor(
    backend: WebGpuBackend,
    config: Mamba2Config,
    layers: readonly Layer[],
    { weightBytes, stateDType }: { readonly weightBytes: number; readonly stateDType: StateDType },
  ) {
    this.#backend = backend;
    this.config = config;
    this.#layers = layers;
    this.count = layers.length;
    this.weightBytes = weightBytes;
    this.#stateDType = stateDType;
    this.#none = backend.tensor(new Int32Array(0), [0]);
    this.#probe = backend.zeros([4]);
  }

  static async make(
    backend: WebGpuBackend,
    shape: ModelShape,
    dtype: WeightDType,
    stateDType: StateDType,
  ): Promise<GpuLayers> {
    const config = readMamba2Config(MODEL_SHAPES[shape]);
    const { hiddenSize, intermediateSize, nGroups, stateSize, numHeads } = config;
    const projected = 2 * intermediateSize + 2 * nGroups * stateSize + numHeads;
    const weightBytes = 2 * hiddenSize * (projected + intermediateSize);
    const count = Math.max(2, Math.min(config.numHiddenLayers, Math.ceil(BYTES_IN_TURN / weightBytes)));
    const context = new LayerContext(backend, singleProcess, dtype);
    const layers = Array.from({ length: count }, (_, i) => ({
      norm: new RMSNorm(context, hiddenSize, config.layerNormEpsilon),
      mixer: new MambaMixer2(context, {
        hiddenSize,
        ssmStateSize: stateSize,
        convKernelSize: config.convKernel,
        intermediateSize,
        useConvBias: config.useConvBias,
        useBias: config.useBias,
        nGroups,
        numHeads,
        headDim: config.headDim,
        rmsNormEps: config.layerNormEpsilon,
        prefix: `layers.${i}`,
        chunkSize: config.chunkSize,
      }),
    }));
    const scratch = new Float32Array(VALUES_AT_ONCE);
    for (const [i, { norm, mixer }] of layers.entries()) {
      const table = new ParameterTable({
        *parameters() {
          yield* prefixed(`layers.${i}.norm`, norm);
          yield* prefixed(`layers.${i}.mixer`, mixer);
        },
      });
      for (const name of table.names()) {
        const weight = new SyntheticWeight(name, table.role(name), table.shape(name), 1);
        await table.stream(name, VALUES_AT_ONCE, async (block) => weight.read(block, scratch));
      }
    }
    return new GpuLayers(backend, config, layers, { weightBytes, stateDType });
  }

  async decode(rows: number, minSteps: number): Promise<LayerTime> {
    const backend = this.#backend;
    const states = this.#states(rows);
    const x = this.#rows(rows);
    const slots = Int32Array.from({ length: rows }, (_, slot) => slot);
    // Short steps have as many layers as the model, so that a layer's time does not include the cost of a step.
    const depth = rows > MANY_ROWS ? Math.max(this.count, MANY_LAYERS) : this.config.numHiddenLayers;
    return this.#time('decode', rows, minSteps, depth, () => {
      const { hiddenSize, chunkSize } = this.config;
      backend.step({
        variant: { hiddenSize },
        inputs: { slots },
        compute: (inputs) => ({
          hiddenStates: this.#forward(x, states, decodeMetadata(inputs.slots, this.#none, chunkSize), depth),
        }),
      });
      backend.flush();
    });
  }

  /** One prompt without a past. */
  async prefill(tokens: number, minSteps: number): Promise<LayerTime> {
    const backend = this.#backend;
    const states = this.#states(1);
    const x = this.#rows(tokens);
    return this.#time('prefill', tokens, minSteps, this.count, () =>
      backend.scope(() => {
        const sequence = { slot: 0, numComputedTokens: 0, numTokens: tokens };
        const metadata = buildMamba2Metadata(backend, [sequence], { chunkSize: this.config.chunkSize });
        this.#forward(x, states, metadata, this.count);
      }),
    );
  }

  #forward(x: Tensor, states: readonly MambaCacheParams[], metadata: Mamba2Metadata, depth: number): Tensor {
    let hidden = x;
    for (let layer = 0; layer < depth; layer++) {
      const i = layer % this.count;
      const { norm, mixer } = this.#layers[i];
      hidden = this.#backend.add(hidden, mixer.forward(norm.forward(hidden), states[i], metadata));
    }
    return hidden;
  }

  async #time(
    work: LayerTime['work'],
    rows: number,
    minSteps: number,
    depth: number,
    step: () => void,
  ): Promise<LayerTime> {
    const backend = this.#backend;
    // Anything read after it waits for all of it.
    const done = () => backend.read(this.#probe);
    const begin = performance.now();
    let steps = 0;
    while (performance.now() - begin < WARM_UP_MS || steps < 3) {
      step();
      await done();
      steps++;
    }
    const walls: number[] = [];
    const wallEnd = performance.now() + MAX_WALL_MS;
    while (walls.length < ROUNDS && (walls.length === 0 || performance.now() < wallEnd)) {
      const wallBegin = performance.now();
      for (let i = 0; i < minSteps; i++) step();
      await done();
      walls.push((1000 * (performance.now() - wallBegin)) / minSteps / depth);
    }
    const passes = await backend.time(async () => {
      for (let i = 0; i < minSteps; i++) step();
      await done();
    });
    const perLayer = passes.map(({ microseconds }) => microseconds / depth);
    const dispatches = await backend.time(
      async () => {
        step();
        await done();
      },
      { perDispatch: true },
    );
    const inLayer = Math.round(dispatches.length / depth);
    // The first layer needs a dispatch for its rows, which other layers get from the layer before.
    const ofLayers = dispatches.slice(Math.max(0, dispatches.length - inLayer * depth));
    return {
      work,
      rows,
      steps: minSteps,
      gpu: spreadOf(perLayer),
      wall: spreadOf(walls),
      dispatches: Array.from({ length: inLayer }, (_, i) => ({
        name: ofLayers[inLayer * (depth >> 1) + i].name.split(' ')[0],
        microseconds: median(ofLayers.filter((__, j) => j % inLayer === i).map((d) => d.microseconds)),
      })),
    };
  }

  #states(slots: number): MambaCacheParams[] {
    return this.#layers.map(({ mixer }) => {
      const { conv, ssm } = mixer.getStateShape();
      const ssmState = this.#backend.zeros([slots, ...ssm], this.#stateDType);
      return { convState: this.#backend.zeros([slots, ...conv]), ssmState };
    });
  }

  #rows(rows: number): Tensor {
    const { hiddenSize } = this.config;
    const values = Float32Array.from({ length: rows * hiddenSize }, (_, i) => Math.sin(i));
    return this.#backend.tensor(values, [rows, hiddenSize]);
  }
}

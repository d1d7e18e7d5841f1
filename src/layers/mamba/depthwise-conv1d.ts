import type { MlpActivation } from '../../backends/contract/activations.ts';
import type { Activation } from '../../backends/contract/convolution.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { LayerContext } from '../parameters/layer-context.ts';
import { Loaded, type Module, type Parameter } from '../parameters/parameter.ts';
import { tensorSink } from '../parameters/row-sink.ts';
import type { WeightLoader } from '../parameters/weight-loaders.ts';

/** Activations behind a convolution: those that its kernels apply, and those that follow as an operation of their own. */
export type ConvActivation = Activation | MlpActivation;

/** The mixer's convolution, its channels divided among the ranks as the loader says. */
export class DepthwiseConv1d implements Module {
  /** (dim, taps) */
  readonly #weight = new Loaded<Tensor>('A DepthwiseConv1d');
  /** (dim) */
  #bias: Tensor | undefined;
  readonly #context: LayerContext;
  readonly #checkpointDim: number;
  readonly #dim: number;
  readonly #taps: number;
  readonly #useBias: boolean;
  readonly #activation: ConvActivation;
  readonly #loader: WeightLoader;

  /**
   * @param checkpointDim channels in the checkpoint, whose weight has shape (checkpointDim, 1, taps).
   * @param dim channels on this rank.
   */
  constructor(
    context: LayerContext,
    checkpointDim: number,
    dim: number,
    taps: number,
    useBias: boolean,
    activation: ConvActivation,
    loader: WeightLoader,
  ) {
    this.#context = context;
    this.#checkpointDim = checkpointDim;
    this.#dim = dim;
    this.#taps = taps;
    this.#useBias = useBias;
    this.#activation = activation;
    this.#loader = loader;
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    const { backend } = this.#context;
    yield [
      'weight',
      {
        shape: [this.#checkpointDim, 1, this.#taps],
        loader: this.#loader,
        place: () => tensorSink(backend, [this.#dim, this.#taps], (weight) => this.#weight.set(weight)),
      },
    ];
    if (!this.#useBias) return;
    yield [
      'bias',
      {
        shape: [this.#checkpointDim],
        loader: this.#loader,
        place: () =>
          tensorSink(backend, [this.#dim], (bias) => {
            this.#bias = bias;
          }),
      },
    ];
  }

  /** What every call of a convolution kernel is given. */
  get kernelArgs() {
    const activation: Activation = isFused(this.#activation) ? this.#activation : 'identity';
    return { weight: this.#weight.get(), bias: this.#bias, activation };
  }

  /** What follows the kernel: the activation, if the kernel did not apply it. */
  activate(convolved: Tensor): Tensor {
    const activation = this.#activation;
    return isFused(activation) ? convolved : this.#context.backend.activate(convolved, activation);
  }
}

function isFused(activation: ConvActivation): activation is Activation {
  return activation === 'silu' || activation === 'swish' || activation === 'identity';
}

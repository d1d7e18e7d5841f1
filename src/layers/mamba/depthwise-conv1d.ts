import type { MlpActivation } from '../../backends/contract/activations.ts';
import type { Activation } from '../../backends/contract/convolution.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { LayerContext } from '../parameters/layer-context.ts';
import type { Module, Parameter } from '../parameters/parameter.ts';
import { tensorWeight, type Weight } from '../parameters/weight.ts';
import type { WeightLoader } from '../parameters/weight-loaders.ts';

/** Activations after a convolution: those that its kernels apply, and those that follow as an operation of their own. */
export type ConvActivation = Activation | MlpActivation;

export interface DepthwiseConv1dOptions {
  /** Channels in the checkpoint, whose weight has shape (checkpointDim, 1, taps). */
  readonly checkpointDim: number;
  /** Channels on this rank. */
  readonly dim: number;
  readonly taps: number;
  readonly useBias: boolean;
  readonly activation: ConvActivation;
  readonly loader: WeightLoader;
}

/** The mixer's convolution, its channels divided among the ranks as the loader says. */
export class DepthwiseConv1d implements Module {
  readonly #context: LayerContext;
  readonly #activation: ConvActivation;
  /** (dim, taps) */
  readonly #weight: Weight<Tensor>;
  /** (dim) */
  readonly #bias: Weight<Tensor> | undefined;

  constructor(context: LayerContext, options: DepthwiseConv1dOptions) {
    const { checkpointDim, dim, taps, useBias, activation, loader } = options;
    const owner = 'A DepthwiseConv1d';
    this.#context = context;
    this.#activation = activation;
    this.#weight = tensorWeight(context, 'conv', {
      owner,
      shape: [checkpointDim, 1, taps],
      ownShape: [dim, taps],
      loader,
    });
    this.#bias = useBias
      ? tensorWeight(context, 'bias', { owner, shape: [checkpointDim], ownShape: [dim], loader })
      : undefined;
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    yield ['weight', this.#weight.parameter];
    if (this.#bias) yield ['bias', this.#bias.parameter];
  }

  /** Arguments of every call of a convolution kernel. */
  get kernelArgs() {
    const activation: Activation = isFused(this.#activation) ? this.#activation : 'identity';
    return { weight: this.#weight.get(), bias: this.#bias?.get(), activation };
  }

  /** Applies the activation, unless the kernel did. */
  activate(convolved: Tensor): Tensor {
    const activation = this.#activation;
    return isFused(activation) ? convolved : this.#context.backend.activate(convolved, activation);
  }
}

function isFused(activation: ConvActivation): activation is Activation {
  return activation === 'silu' || activation === 'swish' || activation === 'identity';
}

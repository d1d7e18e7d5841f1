import { ArgumentError } from '../../errors.ts';
import type { QuantizationConfig } from '../parameters/quantization.ts';
import type { ConvActivation } from './depthwise-conv1d.ts';

/** Sizes are those of the whole layer, over all ranks. */
export interface MambaMixer2Options {
  readonly hiddenSize: number;
  /** N */
  readonly ssmStateSize: number;
  /** K */
  readonly convKernelSize: number;
  /** numHeads * headDim */
  readonly intermediateSize: number;
  readonly useConvBias: boolean;
  /** Whether the in- and out-projection have biases. */
  readonly useBias: boolean;
  /** Whether the out-projection has one. Default: useBias. */
  readonly useOutBias?: boolean | undefined;
  /** G. Default: 1. */
  readonly nGroups?: number | undefined;
  /** H. Default: 128. */
  readonly numHeads?: number | undefined;
  /** P. Default: 64. */
  readonly headDim?: number | undefined;
  /** Default: 1e-5. */
  readonly rmsNormEps?: number | undefined;
  /** Activation after the convolution. Default: silu, the only one in vLLM. */
  readonly activation?: ConvActivation | undefined;
  /** false: the output is gated but not normalised. Default: true. */
  readonly useRmsNorm?: boolean | undefined;
  /** Groups of the gated norm. Default: nGroups. */
  readonly normGroups?: number | undefined;
  /** Normalise first, then gate. Default: false, as always in vLLM. */
  readonly normBeforeGate?: boolean | undefined;
  readonly quantConfig?: QuantizationConfig | undefined;
  /** The layer's name in the model, unique there. Default: ''. */
  readonly prefix?: string | undefined;
  /** Tokens per block of the scan, for metadata that is made for this layer. -1: whatever the metadata says. */
  readonly chunkSize?: number | undefined;
  /** Range of Δ after softplus; Hugging Face's `time_step_limit`. Default: [0, Infinity], as always in vLLM. */
  readonly timeStepLimit?: readonly [number, number] | undefined;
}

/** Sizes of a mixer that depend on each other. */
export interface MixerSizes {
  readonly intermediateSize: number;
  readonly numHeads: number;
  readonly headDim: number;
  readonly nGroups: number;
}

/** A contradiction among a mixer's sizes, in words; undefined where they fit each other. */
export function mixerContradiction({ intermediateSize, numHeads, headDim, nGroups }: MixerSizes): string | undefined {
  if (numHeads * headDim !== intermediateSize) {
    const made = numHeads * headDim;
    return `The mixer's ${numHeads} heads of ${headDim} make ${made}, but its intermediate size is ${intermediateSize}.`;
  }
  return numHeads % nGroups === 0 ? undefined : `${nGroups} groups do not divide the mixer's ${numHeads} heads.`;
}

/** @throws ArgumentError when a size is no whole number from 1 on, or the sizes contradict each other. */
export function checkMixerOptions(options: MambaMixer2Options & MixerSizes): void {
  const { hiddenSize, ssmStateSize, convKernelSize, intermediateSize, nGroups, numHeads, headDim } = options;
  const { chunkSize = -1 } = options;
  const sizes = { hiddenSize, ssmStateSize, convKernelSize, intermediateSize, nGroups, numHeads, headDim };
  for (const [name, size] of Object.entries(sizes)) {
    if (!Number.isInteger(size) || size < 1)
      throw new ArgumentError(`${name} is ${size}.`, 'Use a whole number from 1 on.');
  }
  const contradiction = mixerContradiction({ intermediateSize, numHeads, headDim, nGroups });
  if (contradiction !== undefined) throw new ArgumentError(contradiction);
  if (chunkSize !== -1 && !(Number.isInteger(chunkSize) && chunkSize > 0)) {
    throw new ArgumentError(`chunkSize is ${chunkSize}.`, 'Use a whole number from 1 on, or -1.');
  }
}

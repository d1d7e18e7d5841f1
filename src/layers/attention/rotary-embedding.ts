import type { Tensor } from '../../tensor/tensor.ts';
import type { LayerContext } from '../parameters/layer-context.ts';

/** Rotation of queries and keys. Names are Hugging Face's (`rope_parameters`). */
export interface RopeParameters {
  readonly theta: number;
  /** Rotated columns of a head. */
  readonly rotaryDim: number;
  readonly scaling: RopeScaling;
}

/** Change of frequencies for contexts longer than those of the first training. */
export type RopeScaling =
  | { readonly type: 'default' }
  | { readonly type: 'linear'; readonly factor: number }
  | {
      readonly type: 'llama3';
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      readonly originalMaxPositionEmbeddings: number;
    }
  | {
      readonly type: 'yarn';
      readonly factor: number;
      readonly betaFast: number;
      readonly betaSlow: number;
      /** Whether the range of mixed frequencies is rounded to whole columns. */
      readonly truncate: boolean;
      /** Factor of cosines and sines. */
      readonly attentionFactor: number;
      readonly originalMaxPositionEmbeddings: number;
    };

/** Angles of positions (arXiv:2104.09864), made once per step for all layers. */
export class RotaryEmbedding {
  readonly #context: LayerContext;
  readonly #inverseFrequencies: Tensor;
  readonly #scale: number;

  constructor(context: LayerContext, rope: RopeParameters) {
    const frequencies = Float32Array.from(inverseFrequencies(rope));
    this.#context = context;
    this.#inverseFrequencies = context.backend.tensor(frequencies, [frequencies.length]);
    this.#scale = rope.scaling.type === 'yarn' ? rope.scaling.attentionFactor : 1;
  }

  /** positions (T) int32 → (T, rotaryDim): cosines, then sines. */
  table(positions: Tensor): Tensor {
    return this.#context.backend.rotaryTable(positions, this.#inverseFrequencies, this.#scale);
  }
}

/** Angle per position of each pair of columns: θ^(-2i/rotaryDim), scaled. */
export function inverseFrequencies({ theta, rotaryDim, scaling }: RopeParameters): number[] {
  const plain = Array.from({ length: rotaryDim / 2 }, (_, i) => theta ** ((-2 * i) / rotaryDim));
  switch (scaling.type) {
    case 'default':
      return plain;
    case 'linear':
      return plain.map((frequency) => frequency / scaling.factor);
    case 'llama3':
      return plain.map((frequency) => llama3Frequency(frequency, scaling));
    case 'yarn': {
      const interpolated = yarnRamp(theta, rotaryDim, scaling);
      return plain.map((frequency, i) => {
        const part = interpolated[i];
        return (frequency / scaling.factor) * part + frequency * (1 - part);
      });
    }
  }
}

/** Waves longer than the old context are stretched, short ones are not, and those between are mixed. */
function llama3Frequency(frequency: number, scaling: RopeScaling & { readonly type: 'llama3' }): number {
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositionEmbeddings } = scaling;
  const turns = (originalMaxPositionEmbeddings * frequency) / (2 * Math.PI);
  if (turns > highFreqFactor) return frequency;
  if (turns < lowFreqFactor) return frequency / factor;
  const smooth = (turns - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
  return ((1 - smooth) * frequency) / factor + smooth * frequency;
}

/** Interpolation of each pair of columns: none if the pair turns often in the old context (arXiv:2309.00071). */
function yarnRamp(theta: number, rotaryDim: number, scaling: RopeScaling & { readonly type: 'yarn' }): number[] {
  const { betaFast, betaSlow, truncate, originalMaxPositionEmbeddings } = scaling;
  const columnOf = (turns: number) =>
    (rotaryDim * Math.log(originalMaxPositionEmbeddings / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const [first, last] = [columnOf(betaFast), columnOf(betaSlow)];
  const low = Math.max(truncate ? Math.floor(first) : first, 0);
  const high = Math.min(truncate ? Math.ceil(last) : last, rotaryDim - 1);
  const width = low === high ? 0.001 : high - low;
  return Array.from({ length: rotaryDim / 2 }, (_, i) => Math.min(Math.max((i - low) / width, 0), 1));
}

import type { ParameterRole } from '../layers/parameters/parameter.ts';
import { type RowRun, rowSize } from '../layers/parameters/weight-loaders.ts';
import { hashOf, xorshift } from '../util/hash.ts';

/**
 * Values for one weight as a fresh model has them (mamba_ssm's initialisation), so that states and logits stay finite
 * over any number of tokens. They depend on seed and name alone: every rank makes the same.
 */
export class SyntheticWeight {
  readonly #role: ParameterRole;
  readonly #shape: readonly number[];
  readonly #seed: number;
  /** Position of the generator in the tensor, and its state. */
  #position = 0;
  #state: number;

  /**
   * @param name the model's own name of the weight.
   * @param shape whole, as in a checkpoint.
   */
  constructor(name: string, role: ParameterRole, shape: readonly number[], seed: number) {
    this.#role = role;
    this.#shape = shape;
    // xorshift stays at 0.
    this.#seed = hashOf(name, seed) || 1;
    this.#state = this.#seed;
  }

  /** Returns some rows, in `scratch` if it is large enough. Rows in ascending order cost least. */
  read({ firstRow, rows }: RowRun, scratch = new Float32Array()): Float32Array {
    const size = rowSize(this.#shape);
    const count = rows * size;
    const values = count <= scratch.length ? scratch.subarray(0, count) : new Float32Array(count);
    this.#seek(firstRow * size);
    switch (this.#role) {
      case 'logDecay':
        return replaceAll(this.#fillUniform(values, 1, 16), Math.log);
      case 'stepBias':
        // Δ between 0.001 and 0.1, evenly in its logarithm, and the bias whose softplus it is.
        return replaceAll(this.#fillUniform(values, Math.log(0.001), Math.log(0.1)), (logDt) =>
          Math.log(Math.expm1(Math.exp(logDt))),
        );
      case 'skip':
      case 'norm':
      // An equal correction for all experts changes no choice.
      case 'correctionBias':
        return values.fill(1);
      case 'bias':
        return values.fill(0);
      default: {
        const limit = 1 / Math.sqrt(this.#shape[this.#shape.length - 1]);
        return this.#fillUniform(values, -limit, limit);
      }
    }
  }

  #fillUniform(values: Float32Array, low: number, high: number): Float32Array {
    const middle = (low + high) / 2;
    const scale = (high - low) / 2 ** 32;
    let state = this.#state;
    for (let i = 0; i < values.length; i++) {
      state = xorshift(state);
      values[i] = middle + state * scale;
    }
    this.#state = state;
    this.#position += values.length;
    return values;
  }

  #seek(position: number): void {
    if (position < this.#position) {
      this.#position = 0;
      this.#state = this.#seed;
    }
    let state = this.#state;
    for (let i = this.#position; i < position; i++) state = xorshift(state);
    this.#state = state;
    this.#position = position;
  }
}

/** All values of such a weight. */
export function syntheticWeight(
  name: string,
  role: ParameterRole,
  shape: readonly number[],
  seed: number,
): Float32Array {
  return new SyntheticWeight(name, role, shape, seed).read({ firstRow: 0, rows: shape[0] ?? 1 });
}

function replaceAll(values: Float32Array, map: (value: number) => number): Float32Array {
  for (let i = 0; i < values.length; i++) values[i] = map(values[i]);
  return values;
}

/**
 * Values for one weight as a fresh model has them (mamba_ssm's initialisation), so that states and logits stay finite
 * over any number of tokens. They depend on seed and name alone: every rank makes the same.
 *
 * @param name the model's own name of the weight.
 * @param shape whole, as in a checkpoint.
 */
export function syntheticWeight(name: string, shape: readonly number[], seed: number): Float32Array {
  const values = new Float32Array(shape.reduce((product, extent) => product * extent, 1));
  const kind = name.slice(name.lastIndexOf('.') + 1);
  switch (kind) {
    case 'A_log':
      return fillUniform(values, name, seed, 1, 16).map(Math.log);
    case 'dt_bias':
      // Δ between 0.001 and 0.1, evenly in its logarithm, and the bias whose softplus it is.
      return fillUniform(values, name, seed, Math.log(0.001), Math.log(0.1)).map((logDt) =>
        Math.log(Math.expm1(Math.exp(logDt))),
      );
    case 'D':
      return values.fill(1);
    case 'bias':
      return values;
  }
  // A norm's weight has one axis; a convolution's is (channels, 1, taps).
  if (shape.length === 1) return values.fill(1);
  const limit = 1 / Math.sqrt(shape[shape.length - 1]);
  return fillUniform(values, name, seed, -limit, limit);
}

/** Marsaglia's xorshift with 32 bits: random enough for weights, and quick enough for billions of them. */
function fillUniform(values: Float32Array, name: string, seed: number, low: number, high: number): Float32Array {
  let state = hash(name, seed);
  const middle = (low + high) / 2;
  const scale = (high - low) / 2 ** 32;
  for (let i = 0; i < values.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    values[i] = middle + state * scale;
  }
  return values;
}

/** FNV-1a; never 0, where xorshift would stay. */
function hash(name: string, seed: number): number {
  let state = 0x811c9dc5 ^ seed;
  for (let i = 0; i < name.length; i++) state = Math.imul(state ^ name.charCodeAt(i), 0x01000193);
  return state || 1;
}

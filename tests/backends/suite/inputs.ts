/** Standard normal values to draw from: a lookup is several times faster than a transform of each draw. */
const normals = normalTable(1 << 16);

/** Seeded inputs for tests: the same seed gives the same values on every machine. */
export class Inputs {
  readonly #next: () => number;

  constructor(seed: number) {
    this.#next = mulberry32(seed);
  }

  /** In [0, 1). */
  uniform(): number {
    return this.#next() / 2 ** 32;
  }

  /** A whole number in [low, high]. */
  integer(low: number, high: number): number {
    return low + Math.floor(this.uniform() * (high - low + 1));
  }

  boolean(): boolean {
    return this.uniform() < 0.5;
  }

  /** Normal values with this mean and standard deviation. */
  normal(count: number, mean = 0, deviation = 1): Float32Array {
    const out = new Float32Array(count);
    for (let i = 0; i < count; i++) out[i] = mean + deviation * normals[this.#next() & 0xffff];
    return out;
  }

  /** Decay rates as the upstream tests draw them: -exp(u), u uniform in [0, 1). */
  decayRates(count: number): Float32Array {
    return Float32Array.from({ length: count }, () => -Math.exp(this.uniform()));
  }

  /** `count` different numbers of [0, below), in random order. */
  distinct(count: number, below: number): number[] {
    return this.shuffled(Array.from({ length: below }, (_, i) => i)).slice(0, count);
  }

  shuffled<T>(items: readonly T[]): T[] {
    const out = [...items];
    for (let i = out.length - 1; i > 0; i--) {
      const j = this.integer(0, i);
      [out[i], out[j]] = [out[j], out[i]];
    }
    return out;
  }
}

/** Tommy Ettinger's mulberry32: 32 bits of state, uniform 32-bit numbers. */
function mulberry32(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  };
}

/** Box and Muller's transform. */
function normalTable(size: number): Float64Array {
  const next = mulberry32(20240531);
  return Float64Array.from({ length: size }, () => {
    const [u, v] = [(next() + 1) / (2 ** 32 + 1), next() / 2 ** 32];
    return Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * v);
  });
}

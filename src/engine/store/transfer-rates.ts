import { ArgumentError } from '../../errors.ts';

/** When states are fetched: where measured rates say that it takes less time than computing them, or always. */
export const STATE_FETCHES = ['measured', 'always'] as const;
export type StateFetch = (typeof STATE_FETCHES)[number];

/** When states are fetched, by its name. @throws ArgumentError where there is no such name. */
export function parseStateFetch(name = 'measured'): StateFetch {
  const fetch = STATE_FETCHES.find((known) => known === name);
  if (fetch !== undefined) return fetch;
  throw new ArgumentError(`stateFetch is '${name}'.`, `Use one of: ${STATE_FETCHES.join(', ')}.`);
}

/** Share of a new measurement in a rate. */
const WEIGHT = 0.3;
/** A step with fewer prompt tokens tells nothing about their rate. */
const LEAST_PREFILL = 32;
/** Time after which a rate is measured again, whatever it was: stores and networks recover. */
const TRUST_MILLISECONDS = 30_000;
/** Tokens below which nothing is fetched to find out the rates. */
const LEAST_TOKENS = 64;
/** Bounds of the time that a request waits for a state. */
const LEAST_WAIT = 100;
const MOST_WAIT = 10_000;
/** Wait while it is not known how long computing takes. */
const FIRST_WAIT = 1000;

/** Measured rates of computing and of fetching, and what follows from them. */
export class TransferRates {
  readonly #fetch: StateFetch;
  readonly #now: () => number;
  /** Tokens a second. */
  #prefill: number | undefined;
  /** Bytes a second, and when they were measured last. */
  #bytes: { readonly rate: number; readonly at: number } | undefined;

  /** @param now time in milliseconds. */
  constructor(fetch: StateFetch, now: () => number = () => performance.now()) {
    this.#fetch = fetch;
    this.#now = now;
  }

  /** A step has processed prompt tokens. */
  prefilled(tokens: number, seconds: number): void {
    if (tokens >= LEAST_PREFILL) this.#prefill = mixed(this.#prefill, tokens / seconds);
  }

  /** A state has come, or was given up when it should have come long ago. */
  fetched(bytes: number, seconds: number): void {
    this.#bytes = { rate: mixed(this.#trusted, bytes / seconds), at: this.#now() };
  }

  /** Whether so many bytes come sooner than so many tokens are computed. Unknown rates are worth a try. */
  pays(tokens: number, bytes: number): boolean {
    if (tokens < 1) return false;
    if (this.#fetch === 'always') return true;
    const rate = this.#trusted;
    if (rate === undefined || this.#prefill === undefined) return tokens >= LEAST_TOKENS;
    return bytes / rate < tokens / this.#prefill;
  }

  /** Whole milliseconds that a request waits for the state after so many tokens: as long as computing it takes. */
  wait(tokens: number): number {
    if (this.#fetch === 'always') return MOST_WAIT;
    if (this.#prefill === undefined) return FIRST_WAIT;
    return Math.ceil(Math.min(Math.max((1000 * tokens) / this.#prefill, LEAST_WAIT), MOST_WAIT));
  }

  get #trusted(): number | undefined {
    return this.#bytes && this.#now() - this.#bytes.at < TRUST_MILLISECONDS ? this.#bytes.rate : undefined;
  }
}

function mixed(rate: number | undefined, measured: number): number {
  return rate === undefined ? measured : rate + WEIGHT * (measured - rate);
}

import { GREEDY } from '../backends/contract/sampling.ts';
import { yieldToEventLoop } from '../distributed/event-loop.ts';
import { AsyncLLMEngine } from '../engine/async-llm-engine.ts';
import type { ScheduledTokens } from '../engine/run/executor.ts';
import { uniform } from '../engine/sample/random.ts';
import { resolveSamplingParams } from '../engine/sample/sampling-params.ts';
import type { BenchTarget } from './bench-target.ts';
import { type Spread, spreadOf } from './spread.ts';

/** Work to measure, and the number of repetitions. */
export interface BenchSettings {
  readonly promptTokens: readonly number[];
  readonly batchSizes: readonly number[];
  readonly generateTokens: number;
  /** Numbers of concurrent requests to `generate`. */
  readonly requests: readonly number[];
  readonly repetitions: number;
}

/** One kind of work and how quickly it went. */
export interface Measurement {
  /** `generate` is all of it from a request's first token to its last: steps, greedy sampling, text. */
  readonly work: 'prefill' | 'decode' | 'generate';
  readonly batchSize: number;
  /** Per sequence and run. */
  readonly tokens: number;
  /** Number of these tokens that the head is computed for: the last of each step. */
  readonly logitRows: number;
  /** Tokens per second of all sequences together. */
  readonly tokensPerSecond: Spread;
}

/** Tokens before the first decode step: enough to leave the state of a fresh sequence. */
const SHORT_PROMPT = 8;

/** Tokens of the longest sequence that is measured. */
export function longestSequence({ promptTokens, generateTokens }: BenchSettings): number {
  return Math.max(...promptTokens, SHORT_PROMPT + generateTokens + 1);
}

/**
 * Milliseconds for which each kind of work runs before it is measured, and once at least: V8 compiles only what has run often,
 * and steps of a few milliseconds on a GPU take twice as long until then.
 */
const WARM_UP_MS = 300;

/** Measures all that the settings ask for, one after the other, each after runs for warming up. */
export async function measure(
  target: BenchTarget,
  settings: BenchSettings,
  signal: AbortSignal,
  onProgress: (done: number, total: number) => void,
): Promise<Measurement[]> {
  const { promptTokens, batchSizes, generateTokens, requests, repetitions } = settings;
  const bench = new Bench(target, signal);
  type Work = Omit<Measurement, 'tokensPerSecond'> & { readonly run: () => Promise<number> };
  const works: readonly Work[] = [
    ...promptTokens.map(
      (tokens): Work => ({
        work: 'prefill',
        batchSize: 1,
        tokens,
        logitRows: Math.ceil(tokens / target.context.maxNumBatchedTokens),
        run: () => bench.prefill(tokens),
      }),
    ),
    ...batchSizes.map(
      (size): Work => ({
        work: 'decode',
        batchSize: size,
        tokens: generateTokens,
        logitRows: generateTokens,
        run: () => bench.decode(size, generateTokens),
      }),
    ),
    ...requests.map(
      (size): Work => ({
        work: 'generate',
        batchSize: size,
        tokens: generateTokens,
        logitRows: generateTokens,
        run: () => bench.generate(size, generateTokens),
      }),
    ),
  ];
  const measurements: Measurement[] = [];
  for (const [i, { run, ...work }] of works.entries()) {
    const report = (runs: number) => onProgress(i * (repetitions + 1) + runs, works.length * (repetitions + 1));
    report(0);
    const warm = performance.now() + WARM_UP_MS;
    do await run();
    while (performance.now() < warm);
    const rates: number[] = [];
    for (let repetition = 1; repetition <= repetitions; repetition++) {
      report(repetition);
      rates.push(await run());
    }
    measurements.push({ ...work, tokensPerSecond: spreadOf(rates) });
  }
  return measurements;
}

/** Runs of single kinds of work. Each → tokens per second */
class Bench {
  readonly #target: BenchTarget;
  readonly #signal: AbortSignal;

  constructor(target: BenchTarget, signal: AbortSignal) {
    this.#target = target;
    this.#signal = signal;
  }

  /** One prompt in steps of the engine's size, with the logits of each step's last row, as `generate` asks for them. */
  async prefill(tokens: number): Promise<number> {
    const tokenIds = this.#tokenIds(tokens);
    return tokens / (await this.#seconds(() => this.#prefill([0], tokenIds)));
  }

  /** Steps of one row per sequence, as the engine makes them: an executor that samples has the next while it runs one. */
  async decode(batchSize: number, tokens: number): Promise<number> {
    const slots = Array.from({ length: batchSize }, (_, slot) => slot);
    const tokenIds = this.#tokenIds(tokens);
    const { samplesTokens = false } = this.#target.context.executor;
    const sampling = samplesTokens ? [GREEDY] : undefined;
    await this.#prefill(slots, this.#tokenIds(SHORT_PROMPT));
    const seconds = await this.#seconds(async () => {
      let before: Promise<void> | undefined;
      for (const [i, tokenId] of tokenIds.entries()) {
        const numComputedTokens = SHORT_PROMPT + i;
        const step = this.#step(slots.map((slot) => ({ slot, numComputedTokens, tokenIds: [tokenId], sampling })));
        // Awaited after the next, which may fail as well.
        step.catch(() => {});
        await (samplesTokens ? before : step);
        before = step;
      }
      await before;
    });
    return (batchSize * tokens) / seconds;
  }

  /** Concurrent whole requests, without their prompts, which prefill measures. */
  async generate(requests: number, tokens: number): Promise<number> {
    const params = resolveSamplingParams({ maxTokens: tokens + 1, temperature: 0, ignoreEos: true }, {});
    const engine = new AsyncLLMEngine({ ...this.#target.context, enablePrefixCaching: false });
    const request = { promptTokenIds: this.#tokenIds(SHORT_PROMPT), params };
    let begun = 0;
    let begin = 0;
    let made = 0;
    let end = 0;
    const follow = async () => {
      let isFirst = true;
      for await (const _ of engine.addRequest(request, this.#signal)) {
        end = performance.now();
        if (begun === requests) made++;
        else if (isFirst && ++begun === requests) begin = end;
        isFirst = false;
      }
    };
    await Promise.all(Array.from({ length: requests }, follow));
    return (made * 1000) / (end - begin);
  }

  async #prefill(slots: readonly number[], tokenIds: readonly number[]): Promise<void> {
    const { maxNumBatchedTokens } = this.#target.context;
    for (const slot of slots) {
      for (let begin = 0; begin < tokenIds.length; begin += maxNumBatchedTokens) {
        const part = tokenIds.slice(begin, begin + maxNumBatchedTokens);
        await this.#step([{ slot, numComputedTokens: begin, tokenIds: part }]);
      }
    }
  }

  /** Runs a step, with the turn of the event loop that `generate` takes, so that Ctrl-C works. */
  async #step(sequences: readonly ScheduledTokens[]): Promise<void> {
    this.#signal.throwIfAborted();
    const { executor } = this.#target.context;
    const placed = sequences.map((sequence) => ({ ...sequence, blocks: this.#blocks(sequence) }));
    const { logits } = await executor.execute({ sequences: placed, logits: 'last' });
    await yieldToEventLoop();
    executor.recycle?.(logits);
  }

  /** Blocks for the keys and values of a sequence: each slot has its own. None without attention. */
  #blocks({ slot, numComputedTokens, tokenIds }: ScheduledTokens): number[] | undefined {
    const { executor, maxNumSeqs } = this.#target.context;
    const { numBlocks = 0, blockSize = 1 } = executor.stateFootprint.kvCache ?? {};
    if (numBlocks === 0) return undefined;
    const first = slot * Math.floor(numBlocks / maxNumSeqs);
    const count = Math.ceil((numComputedTokens + tokenIds.length) / blockSize);
    return Array.from({ length: count }, (_, i) => first + i);
  }

  async #seconds(run: () => Promise<void>): Promise<number> {
    const begin = performance.now();
    await run();
    return (performance.now() - begin) / 1000;
  }

  #tokenIds(count: number): number[] {
    const { vocabSize } = this.#target.config;
    return Array.from({ length: count }, (_, i) => Math.floor(uniform(0, i) * vocabSize));
  }
}

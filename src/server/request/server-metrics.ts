import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { AsyncLLMEngine } from '../../engine/async-llm-engine.ts';
import type { EngineEvent } from '../../engine/engine-events.ts';
import type { EngineStats, SpeculationStats } from '../../engine/engine-stats.ts';
import type { StateStoreStats } from '../../engine/store/store-events.ts';

/** Bounds of latencies: from a token of a small model to a long prompt on a slow machine. */
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];
const TOKENS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000];

/** Metrics that are read from statistics: name, help, value. */
type Reading<S = EngineStats> = readonly [name: string, help: string, read: (stats: S) => number];

const GAUGES: readonly Reading[] = [
  [
    'kv_cache_usage_perc',
    'Share of the memory for sequences that is taken, 0 to 1: of state slots, of blocks of the key-value cache, or of the prefix cache, whichever is fuller.',
    (s) =>
      Math.max(
        share(s.slots - s.freeSlots, s.slots),
        share(s.blocks - s.freeBlocks, s.blocks),
        share(s.prefixCache.bytes, s.prefixCache.maxBytes),
      ),
  ],
  ['num_requests_running', 'Requests that have a state slot.', (s) => s.runningRequests],
  ['num_requests_waiting', 'Requests that wait for a state slot.', (s) => s.waitingRequests],
  ['state_slots', 'State slots.', (s) => s.slots],
  ['state_slots_free', 'State slots that are free.', (s) => s.freeSlots],
  ['kv_cache_blocks', 'Blocks of the key-value cache.', (s) => s.blocks],
  ['kv_cache_blocks_free', 'Blocks that neither requests nor the prefix cache hold.', (s) => s.freeBlocks],
  ['prefix_cache_entries', 'States in the prefix cache.', (s) => s.prefixCache.entries],
  ['prefix_cache_bytes', 'Memory of the states in the prefix cache.', (s) => s.prefixCache.bytes],
  ['prefix_cache_max_bytes', 'Memory that they may take.', (s) => s.prefixCache.maxBytes],
];

const COUNTERS: readonly Reading[] = [
  ['engine_steps_total', 'Steps of the engine.', (s) => s.steps],
  ['prompt_tokens_total', 'Prompt tokens processed, without those from the prefix cache.', (s) => s.prefillTokens],
  ['generation_tokens_total', 'Answer tokens given out.', (s) => s.completionTokens],
  ['num_preemptions_total', 'Times that a request lost its slot to another.', (s) => s.preemptions],
  ['requests_refused_total', 'Requests refused because the queue was full.', (s) => s.refusedRequests],
  ['recoveries_total', 'Times that the model was loaded again after a failure.', (s) => s.recoveries],
  ['prefix_cache_queries_total', 'Prompt tokens looked up in the prefix cache.', (s) => s.prefixCache.queriedTokens],
  ['prefix_cache_hits_total', 'Prompt tokens whose state came from the prefix cache.', (s) => s.prefixCache.hitTokens],
  ['prefix_cache_evictions_total', 'States that made room for others.', (s) => s.prefixCache.evictions],
];

/** Counters of guessed tokens, where there are some. */
const SPECULATION_COUNTERS: readonly Reading<SpeculationStats>[] = [
  ['spec_decode_num_drafts_total', 'Guesses at the next tokens.', (s) => s.drafts],
  ['spec_decode_num_draft_tokens_total', 'Tokens that were guessed.', (s) => s.draftTokens],
  [
    'spec_decode_num_accepted_tokens_total',
    'Guessed tokens that were right.',
    (s) => s.acceptedTokensPerPosition.reduce((sum, count) => sum + count, 0),
  ],
];

/** Gauges of the store of states, where there is one. */
const STORE_GAUGES: readonly Reading<StateStoreStats>[] = [
  ['state_store_pending_puts', 'States that wait to be put into the shared store.', (s) => s.pendingPuts],
  ['state_store_pending_bytes', 'Memory of the states that wait.', (s) => s.pendingBytes],
];

const STORE_COUNTERS: readonly Reading<StateStoreStats>[] = [
  ['state_store_queries_total', 'Requests whose state was looked for in the shared store.', (s) => s.queries],
  ['state_store_hits_total', 'Requests that continue from a state of the store.', (s) => s.hits],
  ['state_store_misses_total', 'Requests for which it had none, or none in time.', (s) => s.misses],
  ['state_store_hit_tokens_total', 'Prompt tokens that were not computed because of it.', (s) => s.hitTokens],
  ['state_store_read_bytes_total', 'Bytes of states that were fetched.', (s) => s.bytesRead],
  ['state_store_written_bytes_total', 'Bytes of states that were put.', (s) => s.bytesWritten],
  ['state_store_puts_total', 'States that were put.', (s) => s.puts],
  [
    'state_store_dropped_puts_total',
    'States that were not put: too many waited, or the store failed.',
    (s) => s.droppedPuts,
  ],
  ['state_store_damaged_total', 'Values of the store that were not what had been put.', (s) => s.damaged],
  ['state_store_failures_total', 'Times that the store failed, or did not answer in time.', (s) => s.failures],
];

function share(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole;
}

/** The prefix of names, unless an option gives another. */
const PREFIX = 'mamba2';

/** Metrics for Prometheus: the engine's counts and times, under vLLM's names with a prefix, such as `mamba2:`. */
export class ServerMetrics {
  readonly #registry = new Registry();
  readonly #prefix: string;
  readonly #firstToken: Histogram;
  readonly #nextToken: Histogram;
  readonly #duration: Histogram;
  readonly #queue: Histogram;
  readonly #step: Histogram;
  readonly #stepTokens: Histogram;
  readonly #promptTokens: Histogram;
  readonly #answerTokens: Histogram;
  readonly #finished: Counter<'finished_reason'>;
  readonly #http: Counter<'method' | 'route' | 'status'>;
  /** Present where there is a store of states. */
  readonly #fetch: Histogram | undefined;
  readonly #put: Histogram | undefined;
  #failure: Error | undefined;

  /** @param prefix that `checkAppOptions` has seen. */
  constructor(engine: AsyncLLMEngine, modelName: string, prefix = PREFIX) {
    this.#prefix = prefix;
    this.#firstToken = this.#histogram('time_to_first_token_seconds', 'Seconds to the first token.', SECONDS);
    this.#nextToken = this.#histogram('inter_token_latency_seconds', 'Seconds between two tokens.', SECONDS);
    this.#duration = this.#histogram('e2e_request_latency_seconds', 'Seconds from a request to its end.', SECONDS);
    this.#queue = this.#histogram('request_queue_time_seconds', 'Seconds until a request got a slot.', SECONDS);
    this.#step = this.#histogram('step_time_seconds', 'Seconds of a step of the engine.', SECONDS);
    this.#stepTokens = this.#histogram('iteration_tokens_total', 'Tokens of a step.', TOKENS);
    this.#promptTokens = this.#histogram('request_prompt_tokens', 'Tokens of a prompt.', TOKENS);
    this.#answerTokens = this.#histogram('request_generation_tokens', 'Tokens of an answer.', TOKENS);
    const registers = [this.#registry];
    this.#finished = new Counter({
      name: `${prefix}:request_success_total`,
      help: 'Requests that ended, by reason.',
      labelNames: ['finished_reason'],
      registers,
    });
    this.#http = new Counter({
      name: `${prefix}:http_requests_total`,
      help: 'HTTP requests by route and status.',
      labelNames: ['method', 'route', 'status'],
      registers,
    });
    this.#registry.setDefaultLabels({ model_name: modelName });
    const { snapshotInterval, maxEntries } = engine.stats().prefixCache;
    new Gauge({
      name: `${prefix}:cache_config_info`,
      help: 'Tokens between two states of a text in the prefix cache, and states that fit into it.',
      labelNames: ['block_size', 'num_gpu_blocks'],
      registers,
    }).set({ block_size: snapshotInterval, num_gpu_blocks: maxEntries }, 1);
    this.#addReadings(GAUGES, COUNTERS, () => engine.stats());
    if (engine.stats().speculation) {
      this.#addReadings([], SPECULATION_COUNTERS, () => engine.stats().speculation);
      const perPosition: Counter<'position'> = new Counter({
        name: `${prefix}:spec_decode_num_accepted_tokens_per_pos_total`,
        help: 'Guessed tokens that were right, by their position in the guess.',
        labelNames: ['position'],
        registers,
        collect: () => {
          perPosition.reset();
          const { acceptedTokensPerPosition = [] } = engine.stats().speculation ?? {};
          for (const [position, count] of acceptedTokensPerPosition.entries()) perPosition.inc({ position }, count);
        },
      });
    }
    if (engine.stats().stateStore) {
      this.#fetch = this.#histogram('state_store_get_seconds', 'Seconds to fetch a state.', SECONDS);
      this.#put = this.#histogram('state_store_put_seconds', 'Seconds to put a state.', SECONDS);
      this.#addReadings(STORE_GAUGES, STORE_COUNTERS, () => engine.stats().stateStore);
    }
    engine.onEvent((event) => this.#observe(event));
  }

  /** Why the engine can't run at the moment. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** All metrics in Prometheus's text format. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }

  httpRequest(method: string, route: string, status: number): void {
    this.#http.inc({ method, route, status });
  }

  #observe(event: EngineEvent): void {
    switch (event.type) {
      case 'step':
        this.#step.observe(event.seconds);
        this.#stepTokens.observe(event.prefillTokens + event.decodeTokens);
        break;
      case 'firstToken':
        this.#firstToken.observe(event.seconds);
        break;
      case 'nextToken':
        this.#nextToken.observe(event.seconds);
        break;
      case 'finished':
        this.#finished.inc({ finished_reason: event.reason });
        this.#promptTokens.observe(event.promptTokens);
        this.#answerTokens.observe(event.completionTokens);
        this.#queue.observe(event.queueSeconds);
        this.#duration.observe(event.seconds);
        break;
      case 'stateFetched':
        this.#fetch?.observe(event.seconds);
        break;
      case 'statePut':
        this.#put?.observe(event.seconds);
        break;
      case 'executorFailed':
        this.#failure = event.error;
        break;
      case 'recovered':
        this.#failure = undefined;
    }
  }

  /** Metrics that are read for each report. */
  #addReadings<S>(
    gauges: readonly Reading<S>[],
    counters: readonly Reading<S>[],
    statistics: () => S | undefined,
  ): void {
    const registers = [this.#registry];
    const current = (read: (stats: S) => number) => {
      const stats = statistics();
      return stats === undefined ? 0 : read(stats);
    };
    for (const [name, help, read] of gauges) {
      const collect = (gauge: Gauge) => gauge.set(current(read));
      new Gauge({ name: `${this.#prefix}:${name}`, help, registers, collect: collecting(collect) });
    }
    // The library's counters can only be increased, so they are reset and set to the engine's count.
    for (const [name, help, read] of counters) {
      const collect = (counter: Counter) => {
        counter.reset();
        counter.inc(current(read));
      };
      new Counter({ name: `${this.#prefix}:${name}`, help, registers, collect: collecting(collect) });
    }
  }

  #histogram(name: string, help: string, buckets: number[]): Histogram {
    return new Histogram({ name: `${this.#prefix}:${name}`, help, buckets, registers: [this.#registry] });
  }
}

/** The library calls `collect` with the metric as `this`. */
function collecting<T>(collect: (metric: T) => void): (this: T) => void {
  return function (this: T) {
    collect(this);
  };
}

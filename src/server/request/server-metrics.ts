import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { AsyncLLMEngine } from '../../engine/async-llm-engine.ts';
import type { EngineEvent } from '../../engine/engine-events.ts';
import type { EngineStats } from '../../engine/engine-stats.ts';

/** Bounds of latencies: from a token of a small model to a long prompt on a slow machine. */
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];
const TOKENS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000];

/** Metrics that are read from the engine's statistics: name, help, value. */
type Reading = readonly [name: string, help: string, read: (stats: EngineStats) => number];

const GAUGES: readonly Reading[] = [
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

/** Metrics for Prometheus: the engine's counts and times, under vLLM's names with the prefix `mamba2:`. */
export class ServerMetrics {
  readonly #registry = new Registry();
  readonly #firstToken = this.#histogram('time_to_first_token_seconds', 'Seconds to the first token.', SECONDS);
  readonly #nextToken = this.#histogram('inter_token_latency_seconds', 'Seconds between two tokens.', SECONDS);
  readonly #duration = this.#histogram('e2e_request_latency_seconds', 'Seconds from a request to its end.', SECONDS);
  readonly #queue = this.#histogram('request_queue_time_seconds', 'Seconds until a request got a slot.', SECONDS);
  readonly #step = this.#histogram('step_time_seconds', 'Seconds of a step of the engine.', SECONDS);
  readonly #stepTokens = this.#histogram('iteration_tokens_total', 'Tokens of a step.', TOKENS);
  readonly #promptTokens = this.#histogram('request_prompt_tokens', 'Tokens of a prompt.', TOKENS);
  readonly #answerTokens = this.#histogram('request_generation_tokens', 'Tokens of an answer.', TOKENS);
  readonly #finished = new Counter({
    name: 'mamba2:request_success_total',
    help: 'Requests that ended, by reason.',
    labelNames: ['finished_reason'],
    registers: [this.#registry],
  });
  readonly #http = new Counter({
    name: 'mamba2:http_requests_total',
    help: 'HTTP requests by route and status.',
    labelNames: ['method', 'route', 'status'],
    registers: [this.#registry],
  });
  #failure: Error | undefined;

  constructor(engine: AsyncLLMEngine, modelName: string) {
    this.#registry.setDefaultLabels({ model_name: modelName });
    const registers = [this.#registry];
    // Read for each report. The library's counters can only be increased, so this is reset and set to the engine's
    // count.
    for (const [name, help, read] of GAUGES) {
      const collect = (gauge: Gauge) => gauge.set(read(engine.stats()));
      new Gauge({ name: `mamba2:${name}`, help, registers, collect: collecting(collect) });
    }
    for (const [name, help, read] of COUNTERS) {
      const collect = (counter: Counter) => {
        counter.reset();
        counter.inc(read(engine.stats()));
      };
      new Counter({ name: `mamba2:${name}`, help, registers, collect: collecting(collect) });
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
      case 'executorFailed':
        this.#failure = event.error;
        break;
      case 'recovered':
        this.#failure = undefined;
    }
  }

  #histogram(name: string, help: string, buckets: number[]): Histogram {
    return new Histogram({ name: `mamba2:${name}`, help, buckets, registers: [this.#registry] });
  }
}

/** The library calls `collect` with the metric as `this`. */
function collecting<T>(collect: (metric: T) => void): (this: T) => void {
  return function (this: T) {
    collect(this);
  };
}

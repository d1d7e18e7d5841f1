import type { EngineEvent, EngineEventListener } from './engine-events.ts';
import type { EngineStats, SpeculationStats } from './engine-stats.ts';
import type { Request, Sequence } from './request/request.ts';
import type { FinishReason } from './request/request-output.ts';
import type { ScheduledWork } from './schedule/scheduler.ts';
import type { StateStoreEvent } from './store/store-events.ts';

type Counted = Pick<
  EngineStats,
  | 'steps'
  | 'prefillTokens'
  | 'decodeTokens'
  | 'completionTokens'
  | 'recoveries'
  | 'finishedRequests'
  | 'refusedRequests'
>;

/** Counts events and tells listeners of them. */
export class EngineMetrics {
  readonly #listeners = new Set<EngineEventListener>();
  #steps = 0;
  #prefillTokens = 0;
  #decodeTokens = 0;
  #completionTokens = 0;
  #recoveries = 0;
  #refusedRequests = 0;
  #drafts = 0;
  #draftTokens = 0;
  readonly #acceptedPerPosition: number[] = [];
  readonly #finishedRequests = { stop: 0, length: 0, abort: 0, error: 0 };

  /** @returns ends the listening. */
  listen(listener: EngineEventListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  counts(): Counted {
    return {
      steps: this.#steps,
      prefillTokens: this.#prefillTokens,
      decodeTokens: this.#decodeTokens,
      completionTokens: this.#completionTokens,
      recoveries: this.#recoveries,
      refusedRequests: this.#refusedRequests,
      finishedRequests: { ...this.#finishedRequests },
    };
  }

  guesses(): SpeculationStats {
    return {
      drafts: this.#drafts,
      draftTokens: this.#draftTokens,
      acceptedTokensPerPosition: [...this.#acceptedPerPosition],
    };
  }

  /** @param begin when the step began, in milliseconds. */
  step(scheduled: readonly ScheduledWork[], begin: number): void {
    let [prefillTokens, decodeTokens] = [0, 0];
    for (const { isPrefill, numTokens, drafts } of scheduled) {
      if (isPrefill) prefillTokens += numTokens;
      else decodeTokens += numTokens + drafts.length;
    }
    this.#steps++;
    this.#prefillTokens += prefillTokens;
    this.#decodeTokens += decodeTokens;
    this.#tell({ type: 'step', prefillTokens, decodeTokens, seconds: secondsSince(begin) });
  }

  /** Tokens of an answer were guessed. @param accepted those that were right. */
  guess(drafted: number, accepted: number): void {
    this.#drafts++;
    this.#draftTokens += drafted;
    for (let i = 0; i < accepted; i++) this.#acceptedPerPosition[i] = (this.#acceptedPerPosition[i] ?? 0) + 1;
  }

  /** An answer got a token. */
  token(sequence: Sequence): void {
    const { request, lastTokenAt } = sequence;
    sequence.lastTokenAt = performance.now();
    this.#completionTokens++;
    if (request.firstTokenAt === undefined) {
      request.firstTokenAt = sequence.lastTokenAt;
      this.#tell({ type: 'firstToken', requestId: request.id, seconds: secondsSince(request.addedAt) });
    } else if (lastTokenAt !== undefined) {
      this.#tell({ type: 'nextToken', requestId: request.id, seconds: secondsSince(lastTokenAt) });
    }
  }

  finished(request: Request, reason: FinishReason | 'abort' | 'error'): void {
    const { addedAt, startedAt = performance.now() } = request;
    this.#finishedRequests[reason]++;
    this.#tell({
      type: 'finished',
      requestId: request.id,
      reason,
      promptTokens: request.promptTokenIds.length,
      cachedTokens: request.numCachedTokens,
      completionTokens: request.numOutputTokens,
      seconds: secondsSince(addedAt),
      queueSeconds: (startedAt - addedAt) / 1000,
    });
  }

  refused(): void {
    this.#refusedRequests++;
  }

  stateStore(event: StateStoreEvent): void {
    this.#tell(event);
  }

  executorFailed(error: Error): void {
    this.#tell({ type: 'executorFailed', error });
  }

  /** @param pause milliseconds before the next try. */
  reloadFailed(error: Error, pause: number | undefined): void {
    this.#tell({ type: 'reloadFailed', error, retrySeconds: pause === undefined ? undefined : pause / 1000 });
  }

  died(error: Error): void {
    this.#tell({ type: 'died', error });
  }

  /** @param begin when loading began, in milliseconds. */
  recovered(begin: number): void {
    this.#recoveries++;
    this.#tell({ type: 'recovered', seconds: secondsSince(begin) });
  }

  #tell(event: EngineEvent): void {
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch (error) {
        // The listener's error is its own: neither the request's nor a reason to end the process.
        // biome-ignore lint/suspicious/noConsole: there is no caller to throw it at.
        console.error('A listener of the engine failed:', error);
      }
    }
  }
}

function secondsSince(begin: number): number {
  return (performance.now() - begin) / 1000;
}

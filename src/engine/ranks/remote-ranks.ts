import { reviveError } from '../../distributed/serialized-error.ts';
import type { RankRange } from '../../distributed/shared-memory-group.ts';
import type { Follower, Order, Report } from './job.ts';
import type { ProcessRanks, ProcessStart, RankEvents } from './process-ranks.ts';
import type { RankMessage, RankRequest, StepRequest } from './rank-protocol.ts';

/** Events of ranks of another process. */
export interface RemoteEvents extends RankEvents {
  /** Called when none of the process's ranks can be relied on. */
  readonly onFailure: (error: Error) => void;
}

/** Ranks of another process. */
export class RemoteRanks implements ProcessRanks {
  readonly own: RankRange;
  readonly #follower: Follower;
  readonly #events: RemoteEvents;
  #isGone = false;
  #resolveTerminated: () => void = () => {};

  /** @param model what the other process compares with its own: see `Follow`. */
  constructor(follower: Follower, start: ProcessStart, model: unknown, events: RemoteEvents) {
    this.own = start.own;
    this.#follower = follower;
    this.#events = events;
    follower.onReport = (report) => this.#receive(report as Report);
    follower.onEnd = (error) => {
      this.#isGone = true;
      this.#resolveTerminated();
      events.onFailure(error);
    };
    this.#order({ type: 'start', start, model });
  }

  post(rank: number, request: RankRequest): void {
    this.#order({ type: 'post', rank, request });
  }

  ask(request: StepRequest): void {
    this.#order({ type: 'ask', request });
  }

  fail(): void {
    this.#order({ type: 'fail' });
  }

  reset(): void {
    this.#order({ type: 'reset' });
  }

  async terminate(): Promise<void> {
    if (this.#isGone) return;
    const terminated = new Promise<void>((resolve) => {
      this.#resolveTerminated = resolve;
    });
    this.#order({ type: 'terminate' });
    await terminated;
  }

  #order(order: Order): void {
    this.#follower.order(order);
  }

  #receive(report: Report): void {
    const { host } = this.#follower;
    switch (report.type) {
      case 'message':
        this.#events.onMessage(placed(report.message, report.rank, host), report.rank);
        break;
      case 'end': {
        const { problem, hint } = report.end;
        this.#events.onEnd({ problem: `on host '${host}' ${problem}`, hint }, report.rank);
        break;
      }
      case 'notStarted':
        this.#events.onFailure(reviveError(onHost(report.error, `Host '${host}'`)));
        break;
      case 'terminated':
        this.#resolveTerminated();
    }
  }
}

/** The message with errors that say where they arose. */
function placed(message: RankMessage, rank: number, host: string): RankMessage {
  if (message.type !== 'error') return message;
  return { ...message, error: onHost(message.error, `Rank ${rank} on host '${host}'`) };
}

function onHost<E extends { readonly message: string }>(error: E, place: string): E {
  return { ...error, message: `${place}: ${error.message}` };
}

import { type Link, linkPair } from '../../../src/distributed/link.ts';
import { ValueLink } from '../../../src/distributed/value-link.ts';
import { HostedStage } from '../../../src/engine/pipeline/hosted-stage.ts';
import { follow } from '../../../src/engine/ranks/follow.ts';
import type { Follower, Job, Order, Report } from '../../../src/engine/ranks/job.ts';
import type { ProcessStart } from '../../../src/engine/ranks/process-ranks.ts';

/** A job of several processes, all of which are this one. */
export class LocalJob implements Job {
  readonly followers: readonly Follower[];
  readonly library = '';
  readonly host = 'here';
  /** Bytes of activations that each process sent. */
  readonly sent: number[];
  readonly #links = new Map<string, Link>();
  readonly #following: Promise<unknown>;
  #lastChannel = 0;

  /** @param prepare see `follow`. */
  constructor(size: number, prepare = async (start: ProcessStart) => start) {
    this.sent = new Array(size).fill(0);
    const ends = Array.from({ length: size - 1 }, () => linkPair());
    this.#following = Promise.all(
      ends.map(([, end], i) => {
        const link = (process: number, channel: number) => this.#link(i + 1, process, channel);
        return follow(
          new ValueLink<Report, Order>(end),
          { prepare },
          (...start) => new HostedStage(...start, { link }),
        );
      }),
    );
    this.followers = ends.map(([end], i) => new LocalFollower(`host ${i + 1}`, new ValueLink(end)));
  }

  link(process: number, channel: number): Link {
    return this.#link(0, process, channel);
  }

  newChannel(): number {
    return ++this.#lastChannel;
  }

  /** Ends when all processes that follow have. */
  async close(): Promise<void> {
    for (const follower of this.followers) follower.order({ type: 'finish' });
    await this.#following;
  }

  #link(from: number, to: number, channel: number): Link {
    const key = (a: number, b: number) => `${a} ${b} ${channel}`;
    if (!this.#links.has(key(from, to))) {
      const [one, other] = linkPair();
      this.#links.set(key(from, to), one);
      this.#links.set(key(to, from), other);
    }
    const link = this.#links.get(key(from, to)) as Link;
    return {
      send: (bytes, signal) => {
        this.sent[from] += bytes.length;
        return link.send(bytes, signal);
      },
      receive: (into, signal) => link.receive(into, signal),
    };
  }
}

class LocalFollower implements Follower {
  readonly host: string;
  onReport: ((report: object) => void) | undefined;
  onEnd: ((error: Error) => void) | undefined;
  readonly #link: ValueLink<object, object>;

  constructor(host: string, link: ValueLink<object, object>) {
    this.host = host;
    this.#link = link;
    this.#read().catch((error) => this.onEnd?.(error));
  }

  order(order: object): void {
    this.#link.send(order).catch((error) => this.onEnd?.(error));
  }

  async #read(): Promise<void> {
    for (;;) {
      const report = await this.#link.receive();
      this.onReport?.(report);
    }
  }
}

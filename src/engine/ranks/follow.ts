import { serializeError } from '../../distributed/serialized-error.ts';
import type { ValueLink } from '../../distributed/value-link.ts';
import type { WorkerScript } from '../../distributed/worker-scripts.ts';
import type { Order, Report } from './job.ts';
import { LocalRanks, type ProcessStart } from './process-ranks.ts';

/** What a process that follows has of its own. */
export interface FollowOptions {
  /** The ranks' script. Default: the package's own. */
  readonly script?: WorkerScript | undefined;
  /** What this process's ranks start with: files of its own, say. Rejects where they are of another model than `model`. */
  readonly prepare: (start: ProcessStart, model: unknown) => Promise<ProcessStart>;
}

/** Has ranks as the process with the engine orders, until it says that the job is over. */
export async function follow(link: ValueLink<Report, Order>, { script, prepare }: FollowOptions): Promise<void> {
  let ranks: LocalRanks | undefined;
  // Rejects only where the job ends anyway.
  const report = (value: Report) => void link.send(value).catch(() => {});
  for (;;) {
    const order = await link.receive();
    switch (order.type) {
      case 'start':
        try {
          ranks = new LocalRanks(
            await prepare(order.start, order.model),
            {
              onMessage: (message, rank) => report({ type: 'message', rank, message }),
              onEnd: ({ problem, hint }, rank) => report({ type: 'end', rank, end: { problem, hint } }),
            },
            script,
          );
        } catch (error) {
          report({ type: 'notStarted', error: serializeError(error) });
        }
        break;
      case 'post':
        ranks?.post(order.rank, order.request);
        break;
      case 'ask':
        ranks?.ask(order.request);
        break;
      case 'fail':
        ranks?.fail();
        break;
      case 'reset':
        ranks?.reset();
        break;
      case 'terminate':
        await ranks?.terminate();
        ranks = undefined;
        report({ type: 'terminated' });
        break;
      case 'finish':
        await ranks?.terminate();
        report({ type: 'finished' });
        await link.flush();
        return;
    }
  }
}

import { serializeError } from '../../distributed/serialized-error.ts';
import type { ValueLink } from '../../distributed/value-link.ts';
import type { WorkerScript } from '../../distributed/worker-scripts.ts';
import type { Order, Report } from './job.ts';
import { LocalRanks, type ProcessRanks, type ProcessStart, type RankEnd, type StagePlace } from './process-ranks.ts';
import type { RankMessage } from './rank-protocol.ts';

/** What a process that follows has of its own. */
export interface FollowOptions {
  /** The ranks' script. Default: the package's own. */
  readonly script?: WorkerScript | undefined;
  /** What this process's ranks start with: files of its own, say. Rejects where they are of another model than `model`. */
  readonly prepare: (start: ProcessStart, model: unknown) => Promise<ProcessStart>;
}

/** Makes the ranks of a process that has a stage of a model. */
export type StageMaker = (
  start: ProcessStart,
  place: StagePlace,
  onMessage: (message: RankMessage) => void,
) => ProcessRanks;

/** Has ranks as the process with the engine orders, until it says that the job is over. */
export async function follow(
  link: ValueLink<Report, Order>,
  { script, prepare }: FollowOptions,
  makeStage: StageMaker,
): Promise<void> {
  let ranks: ProcessRanks | undefined;
  // Rejects only where the job ends anyway.
  const report = (value: Report) => void link.send(value).catch(() => {});
  try {
    for (;;) {
      const order = await link.receive();
      switch (order.type) {
        case 'start':
          try {
            const start = await prepare(order.start, order.model);
            const onMessage = (message: RankMessage, rank = 0) => report({ type: 'message', rank, message });
            const onEnd = ({ problem, hint }: RankEnd, rank: number) =>
              report({ type: 'end', rank, end: { problem, hint } });
            ranks = start.stage
              ? makeStage(start, start.stage, onMessage)
              : new LocalRanks(start, { onMessage, onEnd }, script);
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
          ranks = undefined;
          report({ type: 'finished' });
          await link.flush();
          return;
      }
    }
  } finally {
    // A connection that is lost leaves no ranks.
    await ranks?.terminate();
  }
}

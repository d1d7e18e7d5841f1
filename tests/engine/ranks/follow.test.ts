import { expect, test } from 'vitest';
import type { ValueLink } from '../../../src/distributed/value-link.ts';
import { follow } from '../../../src/engine/ranks/follow.ts';
import type { Order, Report } from '../../../src/engine/ranks/job.ts';
import type { ProcessRanks, ProcessStart } from '../../../src/engine/ranks/process-ranks.ts';
import { RankFailedError } from '../../../src/errors.ts';

test('a process that loses the one with the engine ends its ranks', async () => {
  const orders = [{ type: 'start', start: { stage: {} }, model: undefined }] as unknown as Order[];
  const receive = async () => {
    const order = orders.shift();
    if (order) return order;
    throw new RankFailedError('The connection was lost.', 'Start the job again.');
  };
  const link = { receive, send: async () => {}, flush: async () => {} } as unknown as ValueLink<Report, Order>;
  let terminated = 0;
  const ranks = { terminate: async () => void terminated++ } as unknown as ProcessRanks;
  const prepare = async (start: ProcessStart) => start;
  await expect(follow(link, { prepare }, () => ranks)).rejects.toThrow(/connection was lost/);
  expect(terminated).toBe(1);
});

import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { need } from '../needs/needs.ts';
import { MpiHosts } from './mpi-hosts.ts';

const JOB = fileURLToPath(new URL('./group-job.ts', import.meta.url));

const MPIS = [
  { name: 'openmpi', program: need('openmpi') },
  { name: 'mpich', program: need('mpich') },
] as const;

/** Hosts, and ranks on each. */
const GROUPS = [
  [2, 1],
  [2, 2],
  [3, 1],
] as const;

describe.skipIf(need('hosts') === undefined)('a group over several hosts', () => {
  let hosts: MpiHosts;
  beforeAll(async () => {
    hosts = await MpiHosts.make(3);
  });
  afterAll(() => hosts?.remove());

  describe.each(MPIS)('by $name', ({ name, program = '' }) => {
    test.skipIf(program === '').each(GROUPS)(
      '%i hosts of %i ranks: sums in rank order, and releases ranks that wait',
      async (count, threads) => {
        // A message that no rank waits for any more, on purpose: MPICH's transport would say so on standard output.
        const env = { UCX_LOG_LEVEL: 'error' };
        const { code, stdout, stderr } = await hosts.start({ name, program }, [JOB, String(threads)], count, env).ended;
        expect(code, stderr).toBe(0);
        const each = <T>(value: T) => Array.from({ length: threads }, () => value);
        const expected = Array.from({ length: count }, (_, process) => [
          ...each('right'),
          ...each('released').with(0, process === 0 ? 'gave up' : 'released'),
          ...each('right'),
        ]);
        expect(JSON.parse(stdout)).toEqual(expected);
      },
    );
  });
});

import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { need } from '../needs/needs.ts';
import { modelAnswers } from './model-answers.ts';
import { MpiHosts, startLocally } from './mpi-hosts.ts';

const JOB = fileURLToPath(new URL('./golden-job.ts', import.meta.url));

const MPIS = [
  { name: 'openmpi', other: 'libmpich.so.12', program: need('openmpi') },
  { name: 'mpich', other: 'libmpi.so.40', program: need('mpich') },
] as const;

const GOLDENS = ['bamba', 'falcon_h1', 'granitemoehybrid', 'mamba2', 'nemotron_h', 'zamba2'].map((name) =>
  fileURLToPath(new URL(`../goldens/${name}`, import.meta.url)),
);

describe.skipIf(need('hosts') === undefined)('ranks on two hosts', () => {
  let hosts: MpiHosts;
  const expected: unknown[] = [];
  beforeAll(async () => {
    hosts = await MpiHosts.make(2);
    for (const folder of GOLDENS) expected.push(await modelAnswers(folder, { tensorParallelSize: 2 }));
  });
  afterAll(() => hosts?.remove());

  describe.each(MPIS)('by $name', ({ name, program = '', other }) => {
    test.skipIf(program === '')('all architectures answer as two threads do, bit for bit', async () => {
      const { code, stdout, stderr } = await hosts.start({ name, program }, [
        JOB,
        '{"tensorParallelSize":2}',
        '',
        ...GOLDENS,
      ]).ended;
      expect(code, stderr).toBe(0);
      expect(JSON.parse(stdout)).toEqual(expected);
    });

    test.skipIf(program === '')('a rank that dies is named with its host, and the job goes on', async () => {
      const dying = 'data:text/javascript,process.exit(3)';
      const { code, stdout, stderr } = await hosts.start({ name, program }, [
        JOB,
        '{"tensorParallelSize":2}',
        dying,
        GOLDENS[3],
        GOLDENS[3],
      ]).ended;
      expect(code, stderr).toBe(0);
      const message = `Rank 1 on host '${hosts.names[1]}' exited with code 3. Load the model again.`;
      expect(JSON.parse(stdout)).toEqual([message, message]);
    });

    test.skipIf(program === '' || MPIS.some((mpi) => mpi.program === undefined))(
      'the library of another launcher is refused',
      async () => {
        const env = { MAMBA2_MPI_LIBRARY: other };
        const { code, stderr } = await startLocally(
          { name, program },
          [JOB, '{"tensorParallelSize":2}', '', GOLDENS[3]],
          env,
        ).ended;
        expect(code).not.toBe(0);
        expect(stderr).toMatch(/started 2 processes, but '.+' \(.+\) knows of 1\. Start them by the launcher/);
      },
    );
  });
});

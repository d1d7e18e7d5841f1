import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LoadOptions } from '../../src/index.ts';
import { need } from '../needs/needs.ts';
import { modelAnswers } from './model-answers.ts';
import { MpiHosts } from './mpi-hosts.ts';

const JOB = fileURLToPath(new URL('./golden-job.ts', import.meta.url));

const MPIS = [
  { name: 'openmpi', program: need('openmpi') },
  { name: 'mpich', program: need('mpich') },
] as const;

const GOLDENS = ['bamba', 'falcon_h1', 'granitemoehybrid', 'mamba2', 'nemotron_h', 'zamba2'].map((name) =>
  fileURLToPath(new URL(`../goldens/${name}`, import.meta.url)),
);

/** Steps end at other times where several are under way, so other states may be there for later requests. */
async function answersOf(folder: string, options: LoadOptions) {
  return { ...(await modelAnswers(folder, options)), hits: expect.any(Number) };
}

describe.skipIf(need('hosts') === undefined)('stages on hosts of their own', () => {
  let hosts: MpiHosts;
  const expected: unknown[] = [];
  beforeAll(async () => {
    hosts = await MpiHosts.make(3);
    for (const folder of GOLDENS) expected.push(await answersOf(folder, {}));
  });
  afterAll(() => hosts?.remove());

  describe.each(MPIS)('by $name', ({ name, program = '' }) => {
    test.skipIf(program === '').each([2, 3])(
      'all architectures in %i stages answer as one process does, bit for bit',
      async (size) => {
        const options = JSON.stringify({ pipelineParallelSize: size });
        const { code, stdout, stderr } = await hosts.start({ name, program }, [JOB, options, '', ...GOLDENS], size)
          .ended;
        expect(code, stderr).toBe(0);
        expect(JSON.parse(stdout)).toEqual(expected);
      },
    );

    test.skipIf(program === '')('two threads on each of two hosts give the bits of two threads', async () => {
      const two = await answersOf(GOLDENS[3], { tensorParallelSize: 2 });
      const options = JSON.stringify({ pipelineParallelSize: 2, tensorParallelSize: 2 });
      const { code, stdout, stderr } = await hosts.start({ name, program }, [JOB, options, '', GOLDENS[3]], 2).ended;
      expect(code, stderr).toBe(0);
      expect(JSON.parse(stdout)).toEqual([two]);
    });
  });
});

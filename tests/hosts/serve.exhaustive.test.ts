import { readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MAIN } from '../cli/run-cli.ts';
import { need } from '../needs/needs.ts';
import { type Mpi, MpiHosts, type RunningJob } from './mpi-hosts.ts';

const MPIS = [
  { name: 'openmpi', program: need('openmpi') },
  { name: 'mpich', program: need('mpich') },
] as const;

interface Server {
  readonly job: RunningJob;
  readonly url: string;
  /** Process 0. */
  readonly pid: number;
}

/** Ways to share a model. */
const SHARES = ['--tensor-parallel-size', '--pipeline-parallel-size'] as const;

describe.skipIf(need('hosts') === undefined)('a server whose model is on two hosts', () => {
  let hosts: MpiHosts;
  beforeAll(async () => {
    hosts = await MpiHosts.make(2);
  });
  afterAll(() => hosts?.remove());

  /** @param name by which its processes are found. */
  async function startServer(mpi: Mpi, name: string, share: string): Promise<Server> {
    // Open MPI gives processes a terminal, for which the log is another.
    const log = ['--log-format', 'json'];
    const address = ['--host', hosts.addresses[0], '--port', '0', '--served-model-name', name];
    const job = hosts.start(mpi, [MAIN, 'serve', 'tiny-dts', ...address, share, '2', '--no-page', ...log]);
    const { stdout } = job.process;
    if (!stdout) throw new Error('The job has no standard output.');
    const listening = new Promise<Omit<Server, 'job'>>((resolve, reject) => {
      createInterface({ input: stdout }).on('line', (line) => {
        // Launchers have lines of their own.
        if (!line.startsWith('{')) return;
        const { url, pid } = JSON.parse(line);
        if (url !== undefined) resolve({ url, pid });
      });
      job.ended.then(({ stderr }) => reject(new Error(stderr)));
    });
    return { job, ...(await listening) };
  }

  /** Starts an answer, and returns when its first part is there. */
  async function startAnswer({ url }: Server, maxTokens: number): Promise<ReadableStreamDefaultReader<Uint8Array>> {
    const body = { prompt: 'export interface User {', max_tokens: maxTokens, stream: true, ignore_eos: true };
    const response = await fetch(new URL('/v1/completions', url), {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    });
    if (!response.ok || !response.body) throw new Error(await response.text());
    const reader = response.body.getReader();
    await reader.read();
    return reader;
  }

  async function wholeAnswer({ url }: Server, seed: number): Promise<string> {
    const body = { prompt: 'export interface User {', max_tokens: 40, temperature: 1, seed, ignore_eos: true };
    const response = await fetch(new URL('/v1/completions', url), {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    });
    const { choices } = await response.json();
    return choices[0].text;
  }

  async function rest(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<string> {
    let text = '';
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      text += new TextDecoder().decode(part.value);
    }
    return text;
  }

  const cases = MPIS.flatMap((mpi) => SHARES.map((share) => ({ ...mpi, share })));
  describe.each(cases)('by $name, $share', ({ name, program = '', share }) => {
    test.skipIf(program === '')('SIGTERM to process 0 lets answers come to their ends', async () => {
      const server = await startServer({ name, program }, `term-${name}`, share);
      const answer = await startAnswer(server, 300);
      process.kill(server.pid, 'SIGTERM');
      expect(await rest(answer)).toMatch(/"finish_reason":"length"[\s\S]*\[DONE\]/);
      const { code, stderr } = await server.job.ended;
      expect(code, stderr).toBe(0);
    });

    test.skipIf(program === '')('answers under load are those that a request alone gets', async () => {
      const server = await startServer({ name, program }, `load-${name}`, share);
      const alone = await wholeAnswer(server, 0);
      const some = await Promise.all(Array.from({ length: 12 }, (_, i) => wholeAnswer(server, i % 3)));
      for (let i = 0; i < some.length; i += 3) expect(some[i]).toBe(alone);
      expect(new Set(some).size).toBe(3);
      process.kill(server.pid, 'SIGTERM');
      expect((await server.job.ended).code).toBe(0);
    });

    test.skipIf(program === '')('a process that is killed ends the job, with a message that names it', async () => {
      const server = await startServer({ name, program }, `kill-${name}`, share);
      const answer = await startAnswer(server, 16000);
      const killed = findProcess(`kill-${name}`, server.pid);
      process.kill(killed, 'SIGKILL');
      await expect(rest(answer)).rejects.toThrow();
      const { code, stdout, stderr } = await server.job.ended;
      expect(code).not.toBe(0);
      const said = stdout + stderr;
      expect(said).toContain(`PID ${killed}`);
      expect(said).toContain(hosts.names[1]);
    });
  });
});

/** A Node process with a word among its arguments, other than `known`. */
function findProcess(word: string, known: number): number {
  const node = realpathSync(process.execPath);
  const found = readdirSync('/proc').find((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === known) return false;
    try {
      return (
        readlinkSync(`/proc/${pid}/exe`) === node &&
        readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`\0${word}\0`)
      );
    } catch {
      // It has ended meanwhile.
      return false;
    }
  });
  if (found === undefined) throw new Error(`No process has '${word}' among its arguments.`);
  return Number(found);
}

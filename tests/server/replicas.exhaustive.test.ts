import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MAIN } from '../cli/run-cli.ts';
import { freePort } from '../free-port.ts';
import { need } from '../needs/needs.ts';
import { until } from './raw-client.ts';
import { CHAT_TEMPLATE } from './test-server.ts';

const CONFIGS = fileURLToPath(new URL('../../examples/replicas/', import.meta.url));

/** Files that nginx keeps. */
const TEMPORARY = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];

/** Proxies, by what starts them in the foreground with a file. */
const PROXIES = [
  {
    name: 'haproxy',
    program: need('haproxy'),
    file: 'haproxy.cfg',
    args: (path: string) => ['-db', '-f', path],
  },
  {
    name: 'nginx',
    program: need('nginx'),
    file: 'nginx.conf',
    args: (path: string, folder: string) => [
      '-p',
      folder,
      '-e',
      join(folder, 'errors'),
      '-c',
      path,
      '-g',
      `daemon off; pid ${folder}/pid;`,
    ],
  },
];

interface Replica {
  readonly process: ChildProcess;
  readonly ended: Promise<number | null>;
}

/** `mamba2 serve` on a port, once it listens. */
async function startReplica(port: number, template: string): Promise<Replica> {
  const args = ['serve', '--port', String(port), '--tensor-parallel-size', '1', '--chat-template', template];
  const child = spawn(process.execPath, [MAIN, ...args, '--no-page', '--shutdown-timeout', '60']);
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  child.stderr.resume();
  await new Promise<void>((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (JSON.parse(line).url !== undefined) resolve();
    });
    ended.then((code) => reject(new Error(`A replica ended with ${code}.`)));
  });
  return { process: child, ended };
}

describe.each(PROXIES)('replicas behind $name', ({ program, file, args }) => {
  describe.skipIf(program === undefined)('as its file in examples/ says', () => {
    const processes: ChildProcess[] = [];
    const replicas = new Map<number, Replica>();
    let url = '';
    let folder = '';

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'mamba2-test-'));
      await writeFile(join(folder, 'template.jinja'), CHAT_TEMPLATE);
      const [port, first, second] = [await freePort(), await freePort(), await freePort()];
      for (const each of [first, second]) {
        replicas.set(each, await startReplica(each, join(folder, 'template.jinja')));
      }
      const config = (await readFile(CONFIGS + file, 'utf8'))
        .replaceAll('127.0.0.1:8080', `127.0.0.1:${port}`)
        .replaceAll('127.0.0.1:8001', `127.0.0.1:${first}`)
        .replaceAll('127.0.0.1:8002', `127.0.0.1:${second}`)
        // Where this process may write.
        .replace(
          'access_log off;',
          ['access_log off;', ...TEMPORARY.map((name) => `${name}_temp_path ${folder}/${name};`)].join('\n'),
        );
      await writeFile(join(folder, file), config);
      const proxy = spawn(program ?? '', args(join(folder, file), folder), { stdio: 'ignore' });
      processes.push(proxy, ...[...replicas.values()].map((replica) => replica.process));
      url = `http://127.0.0.1:${port}`;
      await until(
        'the proxy answers',
        async () => (await fetch(`${url}/health`).catch(() => undefined))?.ok ?? false,
        60,
      );
    });
    afterAll(async () => {
      // nginx ends its own processes on SIGTERM only.
      for (const each of processes) each.kill('SIGTERM');
      await Promise.all(processes.map((each) => each.exitCode ?? each.signalCode ?? once(each, 'close')));
      await rm(folder, { recursive: true, force: true });
    });

    const post = (path: string, body: object) =>
      fetch(url + path, {
        method: 'POST',
        body: JSON.stringify(body),
        headers: { 'content-type': 'application/json' },
      });

    /** Turns of a conversation, each with all before it. → the replica that answered each */
    async function converse(first: readonly object[]): Promise<(string | null)[]> {
      const messages = [...first];
      const answeredBy = [];
      for (let turn = 0; turn < 4; turn++) {
        const response = await post('/v1/chat/completions', { messages, max_tokens: 8, temperature: 0 });
        expect(response.status).toBe(200);
        answeredBy.push(response.headers.get('x-replica'));
        const { choices } = await response.json();
        messages.push(choices[0].message, { role: 'user', content: `{"turn": "${turn}\\"}` });
      }
      return answeredBy;
    }

    test('conversations stay where they are known', async () => {
      const conversations = Array.from({ length: 8 }, (_, i) => [
        ...(i % 2 === 0 ? [{ role: 'system', content: 'Write {declarations}.' }] : []),
        {
          role: 'user',
          content: i % 3 === 0 ? [{ type: 'text', text: `a } number ${i} "{` }] : `export interface T${i} {`,
        },
      ]);
      const answeredBy = await Promise.all(conversations.map(converse));
      for (const replicas of answeredBy) expect(new Set(replicas).size).toBe(1);
      expect(new Set(answeredBy.map(([replica]) => replica)).size).toBe(2);
    });

    test('events arrive one by one', async () => {
      const body = {
        prompt: 'export interface User {',
        max_tokens: 100,
        temperature: 0,
        ignore_eos: true,
        stream: true,
      };
      const { body: stream } = await post('/v1/completions', body);
      if (stream === null) throw new Error('There is no stream.');
      let chunks = 0;
      for await (const chunk of stream) if (chunk.length > 0) chunks++;
      expect(chunks).toBeGreaterThan(50);
    });

    test('a replica that gets SIGTERM under load loses nothing', async () => {
      let isOver = false;
      const problems: string[] = [];
      let answers = 0;
      const client = async (number: number) => {
        for (let i = 0; !isOver; i++) {
          const body = {
            prompt: `export interface Thing${number}x${i} {`,
            max_tokens: 60,
            ignore_eos: true,
            stream: true,
          };
          const response = await post('/v1/completions', body);
          const text = await response.text();
          const isWhole = text.trimEnd().endsWith('data: [DONE]') && !/^data: \{"error":/m.test(text);
          if (response.status !== 200 || !isWhole) {
            problems.push(`${response.status} ${text.slice(-200)}`);
          }
          answers++;
        }
      };
      const clients = Array.from({ length: 6 }, (_, number) => client(number));
      await until('all clients have an answer', () => answers >= 6, 60);
      const [leaving] = replicas.values();
      leaving.process.kill('SIGTERM');
      expect(await leaving.ended).toBe(0);
      const before = answers;
      await until('further answers', () => answers >= before + 12, 60);
      isOver = true;
      await Promise.all(clients);
      expect(problems).toEqual([]);
    });
  });
});

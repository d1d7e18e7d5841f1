import { execFile, spawn } from 'node:child_process';
import { type AddressInfo, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, onTestFinished, test } from 'vitest';
import { makeFolder } from '../checkpoint/folders.ts';
import { few } from '../runs.ts';
import { readEvents } from '../server/test-server.ts';
import { runCli } from './run-cli.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

interface LogLine {
  readonly msg: string;
  readonly url?: string;
  readonly status?: number;
}

/** `mamba2 serve` on a free port, once it listens: on one thread, unless the arguments say how many. */
async function start(args: readonly string[] = [], env: Record<string, string> = {}) {
  const all = ['serve', '--port', '0', '--tensor-parallel-size', '1', ...args];
  const child = spawn(process.execPath, [MAIN, ...all], { env: { ...process.env, ...env } });
  onTestFinished(() => void child.kill('SIGKILL'));
  const log: LogLine[] = [];
  let stderr = '';
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  const url = await new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      const entry: LogLine = JSON.parse(line);
      log.push(entry);
      if (entry.url !== undefined) resolve(entry.url);
    });
    ended.then((code) => reject(new Error(`ended with ${code}: ${stderr}`)));
  });
  const post = (path: string, body: object, headers: Record<string, string> = {}) =>
    fetch(url + path, {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json', ...headers },
    });
  return { child, url, log, ended, post, stderr: () => stderr };
}

const LONG = { prompt: 'export interface User {', max_tokens: 600, temperature: 0, ignore_eos: true };

describe('mamba2 serve', () => {
  test('ends, and says why, when the model fails and is not loaded again', async () => {
    const hook = `const workers = [];
      process.on('worker', (worker) => workers.push(worker));
      process.on('SIGUSR2', () => workers[0].terminate());`;
    const folder = await makeFolder({ 'hook.mjs': hook });
    const { child, url, log, ended, stderr } = await start(['--tensor-parallel-size', '2', '--no-recover'], {
      NODE_OPTIONS: `--import ${folder}/hook.mjs`,
    });
    expect((await fetch(`${url}/health`)).status).toBe(200);
    child.kill('SIGUSR2');
    expect(await ended).toBe(1);
    expect(stderr()).toMatch(/error: Rank 0 exited with code 1/);
    expect(log.map(({ msg }) => msg)).toContain('the model failed');
  }, 300_000);

  test.each(
    few([
      // Longer than timers are.
      ['SIGINT', '99999999999'],
      ['SIGTERM', '600'],
    ] as const),
  )(
    'under load ends in order on %s, with a timeout of %s s',
    async (signal, timeout) => {
      const { child, url, log, ended, post, stderr } = await start([
        '--max-num-seqs',
        '4',
        '--shutdown-timeout',
        timeout,
      ]);
      // One that the server waits for, and six that end soon. The last wait for a slot: they were accepted as well.
      const short = { ...LONG, max_tokens: 30 };
      const whole = post('/v1/completions', LONG);
      while (!/requests_running\S* 1$/m.test(await (await fetch(`${url}/metrics`)).text()));
      const streams = await Promise.all(
        Array.from({ length: 6 }, () => post('/v1/completions', { ...short, stream: true })),
      );
      child.kill(signal);
      let refused = await post('/v1/completions', { ...LONG, max_tokens: 1 });
      while (refused.status === 200) refused = await post('/v1/completions', { ...LONG, max_tokens: 1 });
      expect(refused.status).toBe(503);
      expect(refused.headers.get('retry-after')).toBe('1');
      expect((await refused.json()).error).toMatchObject({ type: 'server_error', code: 'shutdown' });
      expect((await fetch(`${url}/health`)).status).toBe(503);
      for (const stream of streams) {
        const { events, done } = await readEvents(stream);
        expect(done).toBe(true);
        expect(events.at(-1)).toMatchObject({ choices: [{ finish_reason: 'length' }] });
      }
      expect((await (await whole).json()).usage.completion_tokens).toBe(600);
      expect(await ended).toBe(0);
      expect(stderr()).toBe('');
      expect(log.map(({ msg }) => msg)).toEqual(
        expect.arrayContaining(['listening', 'request', 'shutting down', 'shut down']),
      );
    },
    300_000,
  );

  test('cuts what is unfinished when its time is up', async () => {
    const { child, ended, post } = await start(['--shutdown-timeout', '1']);
    const stream = await post('/v1/completions', { ...LONG, max_tokens: 16_000, stream: true });
    child.kill('SIGTERM');
    const { events } = await readEvents(stream);
    expect(events.at(-1)).toMatchObject({ error: { code: 'shutdown' } });
    expect(await ended).toBe(0);
  }, 180_000);

  test('takes names, keys, limits and a template', async () => {
    const folder = await makeFolder({ 'chat.jinja': '{{ messages[0].content }}' });
    const args = [
      'tiny-dts',
      '--served-model-name',
      'a',
      '--served-model-name',
      'b',
      '--api-key',
      'k1',
      '--max-model-len',
      '64',
    ];
    const { url, post } = await start([...args, '--chat-template', `${folder}/chat.jinja`, '--cors', '*'], {
      MAMBA2_API_KEY: 'k2',
    });
    expect((await fetch(`${url}/v1/models`)).status).toBe(401);
    const models = await fetch(`${url}/v1/models`, {
      headers: { authorization: 'Bearer k2', origin: 'https://x.example' },
    });
    expect(models.headers.get('access-control-allow-origin')).toBe('*');
    expect((await models.json()).data).toMatchObject([{ id: 'a', max_model_len: 64 }, { id: 'b' }]);
    const chat = { model: 'b', messages: [{ role: 'user', content: 'type' }], temperature: 0 };
    const answer = await (await post('/v1/chat/completions', chat, { authorization: 'Bearer k1' })).json();
    expect(answer.model).toBe('a');
    expect(answer.usage.total_tokens).toBeLessThanOrEqual(64);
  }, 180_000);

  test('guesses tokens where it is told to', async () => {
    const config = '{"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_min": 1}';
    const { url, post } = await start(['--speculative-config', config]);
    const answer = await post('/v1/completions', { ...LONG, max_tokens: 20 });
    expect((await answer.json()).usage.completion_tokens).toBe(20);
    expect(await (await fetch(`${url}/metrics`)).text()).toMatch(/^mamba2:spec_decode_num_drafts_total/m);
  }, 180_000);

  test('works with curl, streaming and not', async (context) => {
    const curl = promisify(execFile);
    const has = await curl('curl', ['--version']).catch(() => undefined);
    if (!has) return context.skip();
    const { url } = await start();
    const ask = async (body: object) => {
      const args = [
        '-sS',
        '-N',
        `${url}/v1/completions`,
        '-H',
        'content-type: application/json',
        '-d',
        JSON.stringify(body),
      ];
      return (await curl('curl', args)).stdout;
    };
    const body = { prompt: 'export interface User {', max_tokens: 8, temperature: 0 };
    const { text } = JSON.parse(await ask(body)).choices[0];
    const stream = await ask({ ...body, stream: true });
    expect(stream).toMatch(/^data: \{.*\}\n\ndata: \{[\s\S]*\n\ndata: \[DONE\]\n\n$/);
    const { events } = await readEvents(new Response(stream));
    expect(events.map(({ choices }) => (choices as { text: string }[])[0].text).join('')).toBe(text);
  }, 180_000);

  test('a port that is taken, and values that make no sense, end it with one line', async () => {
    const other = createServer();
    onTestFinished(() => void other.close());
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const port = String((other.address() as AddressInfo).port);
    const taken = await runCli(['serve', '--port', port]);
    expect(taken).toMatchObject({ code: 2, stdout: '' });
    expect(taken.stderr).toMatch(/can't listen: .*EADDRINUSE/);
    for (const [args, message] of [
      [['--port', '70000'], /--port is 70000; expected a whole number from 0 to 65535/],
      [['--max-num-seqs', '0'], /--max-num-seqs is 0; expected a whole number from 1 on/],
      [['--api-key='], /^error: --api-key is empty.*\n$/],
      [['--host='], /^error: --host is empty.*\n$/],
      [['--host', 'nonsense.invalid'], /^error: The server can't listen: getaddrinfo .*nonsense\.invalid.*\n$/],
      [['--host', '300.1.1.1'], /^error: The server can't listen: .*300\.1\.1\.1.*\n$/],
      // An address of no interface here (TEST-NET-1).
      [['--host', '192.0.2.1'], /^error: The server can't listen: .*EADDRNOTAVAIL.*\n$/],
      [['--chat-template', '/nowhere'], /can't be read as a file/],
      [['a', '--model', 'b'], /two models/],
      [['--log-level', 'loud'], /expected one of: silent/],
      [['--speculative-config', '{"method": "eagle"}'], /^error: --speculative-config\.method is 'eagle'.*\n$/],
    ] as const) {
      const { code, stderr } = await runCli(['serve', ...args]);
      expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(message) });
    }
    const { code, stderr } = await runCli(['serve'], { env: { MAMBA2_API_KEY: '' } });
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr: expect.stringMatching(/^error: MAMBA2_API_KEY is empty.*\n$/),
    });
  }, 180_000);
});

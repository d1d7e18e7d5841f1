import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, onTestFinished, test } from 'vitest';

const EXAMPLES = fileURLToPath(new URL('../../examples/', import.meta.url));

/** @returns what an example prints, where it ends well and says nothing on standard error */
async function printed(file: string, ...args: string[]): Promise<string> {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [EXAMPLES + file, ...args]);
  expect(stderr).toBe('');
  return stdout;
}

describe('examples', () => {
  test('generate.js prints what the model continues a prompt with', async () => {
    const prompt = 'export interface User {\n';
    const output = await printed('generate.js', 'tiny-dts', prompt);
    expect(output.startsWith(`${prompt}\t/**\n\t* The name of the user.\n`)).toBe(true);
  });

  test('generate.js says what is wrong, and fails', async () => {
    const failure = printed('generate.js', 'no-such-model');
    await expect(failure).rejects.toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringContaining('no-such-model'),
    });
  });

  test('session.js gives the same answer after a rewind, and continues from a saved session', async () => {
    const lines = (await printed('session.js')).trimEnd().split('\n');
    const [fork, session, again, restored] = lines.map((line) => line.replace(/^[^"]*/, ''));
    expect(fork).toMatch(/^"export declare function distance\(\w/);
    expect(session).toMatch(/^"export declare class \w/);
    expect(again).toBe(session);
    expect(JSON.parse(restored)).not.toBe('');
  });

  test('ai-sdk.js gives the same answer at once and in pieces', async () => {
    const output = await printed('ai-sdk.js');
    const [whole, streamed] = output.split(/\d+ tokens in, 24 out\n/);
    expect(whole).toContain('name');
    expect(streamed).toBe(whole);
  });

  test('langchain.js streams an answer, and gives one in a form', async () => {
    const output = await printed('langchain.js');
    expect(output).toMatch(/\w+\??: \w+;/);
    expect(output).toMatch(/\{ kind: '(class|interface|type)', isExported: (true|false) \}\n$/);
  });

  test('prompt-api.js loads a model, and continues a session in two ways', async () => {
    const type = '(string|number|boolean|Date);';
    const lines = ['The model is loaded.', `name\\??: ${type}`, `birthday\\??: ${type}`, '\\d+ tokens so far'];
    expect(await printed('prompt-api.js')).toMatch(new RegExp(`^${lines.join('\\n')}\\n$`));
  });

  test("hono.js answers OpenAI's client without a port", async () => {
    expect(await printed('hono.js')).toMatch(/\w+\??: \w+;/);
  });

  test('server.js answers with its key only, and ends on a signal', async () => {
    const server = spawn(process.execPath, [`${EXAMPLES}server.js`], {
      env: { ...process.env, PORT: '0', API_KEY: 'secret' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(() => void server.kill('SIGKILL'));
    const [, url] = /at (http:\S+)/.exec(await firstLine(server)) ?? [];
    const complete = (key: string) =>
      fetch(`${url}/completions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
        body: JSON.stringify({ prompt: 'export interface User {', max_tokens: 4 }),
      });
    expect((await complete('wrong')).status).toBe(401);
    const { usage } = await (await complete('secret')).json();
    expect(usage.completion_tokens).toBe(4);
    const ended = once(server, 'exit');
    server.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
  });
});

async function firstLine({ stdout }: ChildProcess): Promise<string> {
  for await (const chunk of stdout ?? []) return String(chunk);
  throw new Error('The server ended without a word.');
}

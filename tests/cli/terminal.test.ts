import { spawn } from 'node:child_process';
import { stripVTControlCharacters } from 'node:util';
import { describe, expect, onTestFinished, test } from 'vitest';
import { makeFolder } from '../checkpoint/folders.ts';
import { need } from '../needs/needs.ts';
import { MAIN } from './run-cli.ts';

const CTRL_C = '\u0003';
const CTRL_D = '\u0004';

/** The program on a terminal, as a person uses it: util-linux's `script` gives it one. */
class Terminal {
  readonly #child;
  readonly #ended: Promise<number | null>;
  #shown = '';
  #read = 0;

  constructor(args: readonly string[], env: Record<string, string>) {
    const words = [process.execPath, MAIN, ...args].map((word) => `'${word}'`).join(' ');
    // `exec`: a shell that waited for the program would get Ctrl-C too, and some then end with 130 whatever it ends with.
    this.#child = spawn('script', ['-qefc', `exec ${words}`, '/dev/null'], {
      env: { ...process.env, TERM: 'xterm', NO_COLOR: '1', ...env },
    });
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#shown += text;
    });
    this.#ended = new Promise((resolve) => this.#child.on('close', resolve));
    onTestFinished(() => void this.#child.kill('SIGKILL'));
  }

  type(keys: string): void {
    this.#child.stdin.write(keys);
  }

  /** Waits for what comes after all that was seen before. */
  async see(pattern: RegExp): Promise<void> {
    await expect.poll(() => this.shown.slice(this.#read), { timeout: 60_000 }).toMatch(pattern);
    const found = pattern.exec(this.shown.slice(this.#read));
    this.#read += (found?.index ?? 0) + (found?.[0].length ?? 0);
  }

  ended(): Promise<number | null> {
    return this.#ended;
  }

  /** All that came, without colours and moves of the cursor. */
  get shown(): string {
    return stripVTControlCharacters(this.#shown);
  }
}

describe.runIf(need('script'))('on a terminal', { timeout: 180_000 }, () => {
  test('chat: help, unknown commands, an answer that is stopped, and two ways out', async () => {
    const env = { XDG_CACHE_HOME: await makeFolder() };
    const terminal = new Terminal(
      ['chat', '--tensor-parallel-size', '1', '-n', '100000', '-t', '0', '--ignore-eos'],
      env,
    );
    await terminal.see(/was not trained on conversations/);
    await terminal.see(/> /);
    terminal.type('/help\r');
    await terminal.see(/\/reset forgets/);
    terminal.type('/nothing\r');
    await terminal.see(/There is no command \/nothing/);
    terminal.type('export interface User {\r');
    await terminal.see(/User \{[\s\S]+name: string/);
    terminal.type(CTRL_C);
    await terminal.see(/> $/);
    terminal.type(`half a line${CTRL_C}`);
    await terminal.see(/half a line[\s\S]*> $/);
    terminal.type(CTRL_C);
    await terminal.see(/Ctrl-C again leaves/);
    terminal.type(CTRL_C);
    expect(await terminal.ended()).toBe(0);

    const other = new Terminal(['chat', '--tensor-parallel-size', '1'], env);
    await other.see(/> /);
    other.type(CTRL_D);
    expect(await other.ended()).toBe(0);
  });

  test('serve says in words where it is, how quickly it was loaded, and what it answers', async () => {
    const terminal = new Terminal(['serve', '--port', '0', '--tensor-parallel-size', '1'], {});
    await terminal.see(/tiny-dts was loaded in [\d.]+ s, and runs on the processor/);
    await terminal.see(/OpenAI's API +http:\/\/127\.0\.0\.1:\d+\/v1/);
    const [, url] = /OpenAI's API +(\S+)\/v1/.exec(terminal.shown) ?? [];
    await fetch(`${url}/v1/models`);
    await terminal.see(/GET \/v1\/models 200 in \d+ ms/);
    terminal.type(CTRL_C);
    expect(await terminal.ended()).toBe(0);
    expect(terminal.shown).not.toContain('{"');
  });

  test('serve --log-format json stays JSON', async () => {
    const terminal = new Terminal(['serve', '--port', '0', '--tensor-parallel-size', '1', '--log-format', 'json'], {});
    await terminal.see(/"msg":"listening"/);
    terminal.type(CTRL_C);
    expect(await terminal.ended()).toBe(0);
  });
});

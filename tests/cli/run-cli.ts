import { spawn } from 'node:child_process';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { run } from '../../src/cli/run.ts';
import { makeFolder } from '../checkpoint/folders.ts';

/** The program's entry. */
export const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

/** How a run of the program ended, and what it wrote. */
export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Chunks of standard output as they arrived. */
  readonly chunks: readonly string[];
}

export interface RunOptions {
  readonly stdin?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface SpawnOptions extends RunOptions {
  /** Called on the first output, with a function that sends Ctrl-C. */
  readonly onOutput?: (interrupt: () => void) => void;
}

/**
 * Runs a command line in this process, with streams of its own: one at a time. It starts ten times as quickly as a process.
 * What depends on a process (signals, memory, a reader that leaves) needs {@link spawnCli}.
 */
export async function runCli(args: readonly string[], { stdin = '', env = {} }: RunOptions = {}): Promise<Outcome> {
  const original = process.env;
  const [output, errors] = [new Capture(process.stdout), new Capture(process.stderr)];
  const ownStdin = Object.getOwnPropertyDescriptor(process, 'stdin');
  process.env = cleanEnvironment(env);
  Object.defineProperty(process, 'stdin', { value: Readable.from([Buffer.from(stdin)]), configurable: true });
  try {
    const code = await run(args);
    return { code, stdout: output.chunks.join(''), stderr: errors.chunks.join(''), chunks: output.chunks };
  } finally {
    if (ownStdin) Object.defineProperty(process, 'stdin', ownStdin);
    process.env = original;
    output.end();
    errors.end();
  }
}

/** Runs a command that loads a model on one rank: starting further threads takes longer than most tests. */
export function runOnOneRank([command, ...args]: readonly string[], options?: RunOptions): Promise<Outcome> {
  return runCli([command, '--tensor-parallel-size', '1', ...args], options);
}

/** Collects what is written to a standard stream, in place of writing it. */
class Capture {
  readonly chunks: string[] = [];
  readonly #stream: NodeJS.WriteStream;
  readonly #write: NodeJS.WriteStream['write'];
  readonly #listeners: readonly unknown[];

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
    this.#write = stream.write;
    this.#listeners = stream.listeners('error');
    stream.write = (chunk: string | Uint8Array) => {
      this.chunks.push(typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString());
      return true;
    };
  }

  end(): void {
    this.#stream.write = this.#write;
    for (const listener of this.#stream.listeners('error')) {
      if (!this.#listeners.includes(listener)) this.#stream.off('error', listener as (error: Error) => void);
    }
  }
}

/** Runs the program on this source tree, in a process of its own. */
export function spawnCli(
  args: readonly string[],
  { stdin = '', env = {}, onOutput }: SpawnOptions = {},
): Promise<Outcome> {
  const child = spawn(process.execPath, [MAIN, ...args], { env: cleanEnvironment(env) });
  child.stdout.setEncoding('utf8');
  child.stderr.setEncoding('utf8');
  const chunks: string[] = [];
  let stderr = '';
  child.stdout.on('data', (chunk: string) => {
    chunks.push(chunk);
    if (chunks.length === 1) onOutput?.(() => child.kill('SIGINT'));
  });
  child.stderr.on('data', (chunk: string) => {
    stderr += chunk;
  });
  // A program that needs no input may be gone by now.
  child.stdin.on('error', () => undefined);
  child.stdin.end(stdin);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout: chunks.join(''), stderr, chunks }));
  });
}

/** The environment without the machine's own hub settings, and with some more. */
function cleanEnvironment(more: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const clean = Object.entries(process.env).filter(([name]) => !/^(HF_|DEBUG$|NO_COLOR$)/.test(name));
  return { ...Object.fromEntries(clean), ...more };
}

/** Settings under which no hub model can be found. */
export async function offline(): Promise<Record<string, string>> {
  return { HF_HUB_OFFLINE: '1', HF_HOME: await makeFolder() };
}

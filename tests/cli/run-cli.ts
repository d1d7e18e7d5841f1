import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
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
  /** Called on the first output, with a function that sends Ctrl-C. */
  readonly onOutput?: (interrupt: () => void) => void;
}

/** Runs the program on this source tree. The machine's own hub settings do not reach it. */
export function runCli(args: readonly string[], { stdin = '', env = {}, onOutput }: RunOptions = {}): Promise<Outcome> {
  const clean = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(HF_|DEBUG$|NO_COLOR$)/.test(name)),
  );
  const child = spawn(process.execPath, [MAIN, ...args], { env: { ...clean, ...env } });
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

/** Settings under which no hub model can be found. */
export async function offline(): Promise<Record<string, string>> {
  return { HF_HUB_OFFLINE: '1', HF_HOME: await makeFolder() };
}

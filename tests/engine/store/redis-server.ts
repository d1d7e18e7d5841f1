import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../free-port.ts';

/** A server of Redis that is a test's own. */
export interface RedisServer {
  readonly url: string;
  readonly process: ChildProcess;
  close(): Promise<void>;
}

/** @param program path of redis-server. @param port where one was before. */
export async function startRedis(
  program: string,
  { args = [], port }: { readonly args?: readonly string[]; readonly port?: number } = {},
): Promise<RedisServer> {
  const folder = await mkdtemp(join(tmpdir(), 'mamba2-test-'));
  const own = port ?? (await freePort());
  const all = ['--port', `${own}`, '--bind', '127.0.0.1', '--save', '', '--dir', folder, '--daemonize', 'no', ...args];
  const child = spawn(program, all, { stdio: ['ignore', 'pipe', 'ignore'] });
  const ready = new Promise<void>((resolve, reject) => {
    child.stdout.on('data', (text) => {
      if (`${text}`.includes('Ready to accept connections')) resolve();
    });
    child.on('close', (code) => reject(new Error(`redis-server ended with ${code}.`)));
  });
  await ready;
  const close = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      const closed = once(child, 'close');
      child.kill('SIGKILL');
      await closed;
    }
    await rm(folder, { recursive: true, force: true });
  };
  return { url: `redis://127.0.0.1:${own}`, process: child, close };
}

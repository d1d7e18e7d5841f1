import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

/** `mamba2 serve` of the built package, in a process of its own. */
export class ServerProcess {
  readonly url: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;

  private constructor(url: string, child: ChildProcess, ended: Promise<number | null>) {
    this.url = url;
    this.#child = child;
    this.#ended = ended;
  }

  /** Resolves when it listens. */
  static async start(args: readonly string[]): Promise<ServerProcess> {
    const probe = ['--expose-gc', '--import', import.meta.resolve('./server-probe.ts')];
    const child = spawn(process.execPath, [...probe, MAIN, 'serve', '--port', '0', ...args], {
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    });
    const { stdout } = child;
    if (!stdout) throw new Error('The server has no standard output.');
    const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
    const url = await new Promise<string>((resolve, reject) => {
      createInterface({ input: stdout }).on('line', (line) => {
        const { url }: { url?: string } = JSON.parse(line);
        if (url !== undefined) resolve(url);
      });
      ended.then((code) => reject(new Error(`The server ended with code ${code}.`)));
    });
    return new ServerProcess(url, child, ended);
  }

  /** null as long as it runs. */
  get exitCode(): number | null {
    return this.#child.exitCode;
  }

  /** After a garbage collection. */
  async memory(): Promise<NodeJS.MemoryUsage> {
    this.#child.send('memory');
    const [usage] = await once(this.#child, 'message');
    return usage;
  }

  /** Milliseconds of its main thread that one turn of the event loop took at most, since this was asked before. */
  async longestHold(): Promise<number> {
    this.#child.send('hold');
    const [milliseconds] = await once(this.#child, 'message');
    return milliseconds;
  }

  /** → exit code */
  async stop(): Promise<number | null> {
    this.#child.kill('SIGTERM');
    return this.#ended;
  }
}

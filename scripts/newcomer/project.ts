import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';

/** Failure of a program, with its output. */
export class CommandError extends Error {}

/** Nothing that a project runs takes as long, on a machine with much other work. */
const MOST_MILLISECONDS = 600_000;

/** Environment of a newcomer, without what npm adds for this project's scripts: so `node` is the machine's. */
function newcomersEnv(): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !/^npm_|^NODE_OPTIONS$/i.test(name));
  const path = (process.env.PATH ?? '').split(delimiter).filter((folder) => !folder.includes('node_modules'));
  return { ...Object.fromEntries(own), PATH: path.join(delimiter), NEXT_TELEMETRY_DISABLED: '1' };
}

/** A fresh folder with a package.json and some packages. */
export class Project {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async create(manifest: Readonly<Record<string, unknown>>): Promise<Project> {
    const project = new Project(await mkdtemp(join(tmpdir(), 'newcomer-')));
    await project.write({ 'package.json': JSON.stringify({ name: 'newcomer', private: true, ...manifest }) });
    return project;
  }

  /** Writes files by their paths. */
  async write(files: Readonly<Record<string, string>>): Promise<void> {
    for (const [path, content] of Object.entries(files)) {
      await mkdir(dirname(join(this.folder, path)), { recursive: true });
      await writeFile(join(this.folder, path), content);
    }
  }

  async install(...packages: readonly string[]): Promise<void> {
    await this.run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error', ...packages]);
  }

  /** Runs one of the packages' programs. → what it printed */
  async bin(name: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> {
    return this.run(join(this.folder, 'node_modules', '.bin', name), args, env);
  }

  /** → what it printed. Rejects with CommandError */
  run(program: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> {
    return new Promise((resolve, reject) => {
      const child = spawn(program, args, {
        cwd: this.folder,
        env: { ...newcomersEnv(), ...env },
        // Its children, too, end with it.
        detached: process.platform !== 'win32',
        shell: process.platform === 'win32',
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      let stdout = '';
      let stderr = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        stdout += text;
      });
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        stderr += text;
      });
      const fail = (problem: string) => {
        const said = `${stdout}\n${stderr}`.trim().split('\n').slice(-25).join('\n');
        reject(new CommandError(`${[program.split('/').at(-1), ...args].join(' ')} ${problem}\n${said}`));
      };
      const timer = setTimeout(() => {
        if (child.pid !== undefined && process.platform !== 'win32') process.kill(-child.pid, 'SIGKILL');
        else child.kill('SIGKILL');
        fail(`did not end in ${MOST_MILLISECONDS / 1000} s`);
      }, MOST_MILLISECONDS);
      child.on('error', (error) => {
        clearTimeout(timer);
        fail(error.message);
      });
      child.on('close', (code, signal) => {
        clearTimeout(timer);
        if (code === 0) resolve(stdout);
        else fail(`ended with ${signal ?? code}`);
      });
    });
  }

  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

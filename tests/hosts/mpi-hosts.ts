import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const SCRIPTS = fileURLToPath(new URL('../../scripts/hosts/', import.meta.url));

/** An implementation of MPI whose launcher is here. */
export interface Mpi {
  readonly name: 'openmpi' | 'mpich';
  /** Path of its mpirun. */
  readonly program: string;
}

/** How a job ended, and what its processes wrote. */
export interface JobOutcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A job of several processes. */
export interface RunningJob {
  /** mpirun. */
  readonly process: ChildProcess;
  readonly ended: Promise<JobOutcome>;
}

/** Hosts that are network namespaces of this machine. */
export class MpiHosts {
  readonly #name: string;
  /** One per host; this machine reaches them. */
  readonly addresses: readonly string[];

  private constructor(name: string, addresses: readonly string[]) {
    this.#name = name;
    this.addresses = addresses;
  }

  static async make(count: number): Promise<MpiHosts> {
    // No longer than Linux lets the names of networks be.
    const name = `m${process.pid}${String.fromCharCode(97 + count)}`;
    const { stdout } = await hosts(['up', name, String(count)]);
    return new MpiHosts(name, stdout.trim().split('\n'));
  }

  get names(): string[] {
    return this.addresses.map((_, i) => `${this.#name}-${i}`);
  }

  /** Starts Node with a script and its arguments on each of the first `count` hosts. */
  start(mpi: Mpi, args: readonly string[], count = this.addresses.length, env: NodeJS.ProcessEnv = {}): RunningJob {
    const names = this.names.slice(0, count);
    const launch = [mpi.program, ...launcherArgs(mpi, names), process.execPath, ...args];
    return startJob(`${SCRIPTS}hosts.sh`, ['run', names[0], ...launch], { ...MPICH_TCP, ...env });
  }

  async remove(): Promise<void> {
    await hosts(['down', this.#name, String(this.addresses.length)]);
  }
}

/** Starts Node with a script and its arguments in two processes of this machine. */
export function startLocally(mpi: Mpi, args: readonly string[], env: NodeJS.ProcessEnv = {}): RunningJob {
  const options = mpi.name === 'openmpi' ? OPEN_MPI : [];
  return startJob(mpi.program, [...options, '-np', '2', process.execPath, ...args], env);
}

/** Tests run as root, on cores that others use, too. */
const OPEN_MPI = ['--allow-run-as-root', '--oversubscribe', '--bind-to', 'none', '--mca', 'mpi_yield_when_idle', '1'];

/** Namespaces share memory, which both implementations would find and take. */
const OPEN_MPI_TCP = ['--mca', 'pml', 'ob1', '--mca', 'btl', 'self,tcp'];
const MPICH_TCP = { UCX_TLS: 'tcp,self' };

function launcherArgs({ name }: Mpi, hosts: readonly string[]): string[] {
  const count = ['-np', String(hosts.length)];
  const ssh = `${SCRIPTS}ssh.sh`;
  if (name === 'mpich') return ['-launcher', 'ssh', '-launcher-exec', ssh, '-hosts', hosts.join(), ...count];
  return [...OPEN_MPI, ...OPEN_MPI_TCP, '--mca', 'plm_rsh_agent', ssh, '--host', hosts.join(), ...count];
}

function startJob(program: string, args: readonly string[], env: NodeJS.ProcessEnv): RunningJob {
  const child = spawn(program, [...args], { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (bytes) => {
    stdout += bytes;
  });
  child.stderr.on('data', (bytes) => {
    stderr += bytes;
  });
  const ended = new Promise<JobOutcome>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
  return { process: child, ended };
}

function hosts(args: readonly string[]) {
  return promisify(execFile)(`${SCRIPTS}hosts.sh`, [...args]);
}

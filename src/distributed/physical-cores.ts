import { hardwareThreads } from './hardware-threads.ts';

/** The machine, as far as {@link physicalCores} asks about it. Tests pass one of their own. */
export interface Machine {
  /** Node's name of the platform; 'browser' outside of Node. */
  readonly platform: string;
  /** Threads that the machine runs at once, as far as this process may use them. */
  readonly threads: number;
  /** Text of a small file; undefined if it is missing. */
  readText(path: string): string | undefined;
  /** Output of a program; undefined if it fails. */
  run(program: string, args: readonly string[]): string | undefined;
}

/**
 * Cores that run a rank each without getting in each other's way: two threads of one core share its arithmetic units, so
 * a rank on each gains nothing, and all ranks wait for the slowest, so efficiency cores are left out.
 *
 * - Linux: cores that have a thread in this process's affinity, and only performance cores where the kernel tells Intel's
 *   two kinds apart; never more than the threads that the control group allows.
 * - macOS: performance cores, or all cores where there is one kind.
 * - Elsewhere it is unknown, and the number of threads is taken: in browsers `navigator.hardwareConcurrency`, which some limit
 *   (Safari to 8) and some make up; on Windows logical processors.
 */
export function physicalCores(machine: Machine = thisMachine()): number {
  const { platform, threads } = machine;
  const cores = platform === 'linux' ? linuxCores(machine) : platform === 'darwin' ? macCores(machine) : undefined;
  return Math.max(1, Math.min(cores ?? threads, threads));
}

const CPUS = '/sys/devices/system/cpu';

function linuxCores({ readText }: Machine): number | undefined {
  const allowed = /^Cpus_allowed_list:\s*(\S+)/m.exec(readText('/proc/self/status') ?? '')?.[1];
  if (allowed === undefined) return undefined;
  const performance = new Set(parseCpuList(readText('/sys/devices/cpu_core/cpus') ?? ''));
  const cpus = parseCpuList(allowed);
  const chosen = cpus.some((cpu) => performance.has(cpu)) ? cpus.filter((cpu) => performance.has(cpu)) : cpus;
  // All threads of a core name the same siblings.
  const cores = chosen.map((cpu) => readText(`${CPUS}/cpu${cpu}/topology/thread_siblings_list`)?.trim());
  return cores.includes(undefined) ? undefined : new Set(cores).size;
}

/** '0-3,8' → 0, 1, 2, 3, 8 */
function parseCpuList(list: string): number[] {
  return list
    .trim()
    .split(',')
    .filter((part) => part !== '')
    .flatMap((part) => {
      const [first, last = first] = part.split('-').map(Number);
      return Array.from({ length: last - first + 1 }, (_, i) => first + i);
    });
}

function macCores({ run }: Machine): number | undefined {
  for (const name of ['hw.perflevel0.physicalcpu', 'hw.physicalcpu']) {
    const count = Number.parseInt(run('/usr/sbin/sysctl', ['-n', name]) ?? '', 10);
    if (count > 0) return count;
  }
  return undefined;
}

function thisMachine(): Machine {
  const fs = globalThis.process?.getBuiltinModule?.('node:fs');
  const childProcess = globalThis.process?.getBuiltinModule?.('node:child_process');
  const attempt = (read: () => string | undefined) => {
    try {
      return read();
    } catch {
      return undefined;
    }
  };
  return {
    platform: globalThis.process?.platform ?? 'browser',
    threads: hardwareThreads(),
    readText: (path) => attempt(() => fs?.readFileSync(path, 'utf8')),
    run: (program, args) =>
      attempt(() =>
        childProcess?.execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
      ),
  };
}

import { availableParallelism } from 'node:os';
import { describe, expect, test } from 'vitest';
import { type Machine, physicalCores } from '../../src/distributed/physical-cores.ts';

/** A Linux machine whose CPUs have these siblings, in order. */
function linux(siblings: readonly string[], { allowed = `0-${siblings.length - 1}`, threads = siblings.length } = {}) {
  const files = new Map(
    siblings.map((list, cpu) => [`/sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings_list`, `${list}\n`]),
  );
  files.set('/proc/self/status', `Name:\tnode\nCpus_allowed:\tff\nCpus_allowed_list:\t${allowed}\nThreads:\t7\n`);
  const machine: Machine = {
    platform: 'linux',
    threads,
    readText: (path) => files.get(path),
    run: () => expect.fail('Linux needs no program.'),
  };
  return { machine, files };
}

function mac(answers: Readonly<Record<string, string>>, threads: number): Machine {
  return {
    platform: 'darwin',
    threads,
    readText: () => undefined,
    run: (_program, [, name]) => answers[name],
  };
}

describe('physicalCores on Linux', () => {
  test.each<[string, readonly string[], number]>([
    ['one thread per core', ['0', '1', '2', '3'], 4],
    ['two threads per core, neighbours', ['0-1', '0-1', '2-3', '2-3'], 2],
    ['two threads per core, far apart', ['0,4', '1,5', '2,6', '3,7', '0,4', '1,5', '2,6', '3,7'], 4],
    ['four threads per core', ['0-3', '0-3', '0-3', '0-3'], 1],
  ])('%s', (_, siblings, cores) => {
    expect(physicalCores(linux(siblings).machine)).toBe(cores);
  });

  test('counts cores that the process may use, with one thread or more', () => {
    const siblings = ['0,4', '1,5', '2,6', '3,7', '0,4', '1,5', '2,6', '3,7'];
    expect(physicalCores(linux(siblings, { allowed: '0-1,4-5', threads: 4 }).machine)).toBe(2);
    expect(physicalCores(linux(siblings, { allowed: '2,7', threads: 2 }).machine)).toBe(2);
    expect(physicalCores(linux(siblings, { allowed: '5', threads: 1 }).machine)).toBe(1);
  });

  test('is at most what the control group allows', () => {
    expect(physicalCores(linux(['0', '1', '2', '3'], { threads: 2 }).machine)).toBe(2);
  });

  test('takes performance cores where there are two kinds, and the others where it may use only those', () => {
    const siblings = ['0-1', '0-1', '2-3', '2-3', '4', '5', '6', '7'];
    const hybrid = linux(siblings);
    hybrid.files.set('/sys/devices/cpu_core/cpus', '0-3\n');
    expect(physicalCores(hybrid.machine)).toBe(2);
    const confined = linux(siblings, { allowed: '5-7', threads: 3 });
    confined.files.set('/sys/devices/cpu_core/cpus', '0-3\n');
    expect(physicalCores(confined.machine)).toBe(3);
  });

  test('is the number of threads where the kernel does not tell', () => {
    const { machine, files } = linux(['0-1', '0-1', '2-3', '2-3']);
    files.delete('/sys/devices/system/cpu/cpu3/topology/thread_siblings_list');
    expect(physicalCores(machine)).toBe(4);
    files.clear();
    expect(physicalCores(machine)).toBe(4);
  });
});

test('physicalCores on macOS: performance cores, or all cores where there is one kind', () => {
  expect(physicalCores(mac({ 'hw.perflevel0.physicalcpu': '6\n', 'hw.physicalcpu': '8\n' }, 8))).toBe(6);
  expect(physicalCores(mac({ 'hw.physicalcpu': '4\n' }, 8))).toBe(4);
  expect(physicalCores(mac({}, 8))).toBe(8);
});

test('physicalCores elsewhere is the number of threads', () => {
  const nothing = { readText: () => undefined, run: () => undefined };
  expect(physicalCores({ platform: 'browser', threads: 8, ...nothing })).toBe(8);
  expect(physicalCores({ platform: 'win32', threads: 16, ...nothing })).toBe(16);
});

test('physicalCores of this machine', () => {
  expect(physicalCores()).toBeGreaterThanOrEqual(1);
  expect(physicalCores()).toBeLessThanOrEqual(availableParallelism());
});

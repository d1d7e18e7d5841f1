import { execFile, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { ncclCandidates } from '../../../src/backends/cuda/nccl/find-nccl.ts';
import { NcclLibrary } from '../../../src/backends/cuda/nccl/nccl-library.ts';
import { openFile } from '../../../src/checkpoint/files/file-source.ts';
import { SafetensorsFile } from '../../../src/checkpoint/safetensors/safetensors.ts';
import { LLM } from '../../../src/engine/llm.ts';
import { fewestGpus } from '../../../src/engine/load/choose-gpus.ts';
import type { LoadOptions } from '../../../src/engine/load/load-options.ts';
import { MissingPackageError, RankFailedError, ShardingError } from '../../../src/errors.ts';
import { freePort } from '../../free-port.ts';
import { startLocally } from '../../hosts/mpi-hosts.ts';
import { SeededRandom } from '../../layers/seeded.ts';
import { need } from '../../needs/needs.ts';
import { largestDifference } from '../../numbers.ts';
import { few, isFullRun } from '../../runs.ts';
import { buildEmulatedDriver, buildEmulatedNccl, type EmulatedDriver } from './emulated-driver.ts';
import type { NcclTask } from './nccl-rank.ts';

const goldens = fileURLToPath(new URL('../../goldens', import.meta.url));
// Processors that run kernels take their time.
vi.setConfig({ testTimeout: 600_000, hookTimeout: 600_000 });

describe('GPUs that a model takes', () => {
  const gib = 2 ** 30;
  const choice = { numHeads: 24, processes: 1, memories: Array(8).fill(16 * gib), need: (n: number) => (40 * gib) / n };

  test('are the fewest that hold it and divide its heads', () => {
    expect(fewestGpus({ ...choice, need: () => 10 * gib })).toBe(1);
    expect(fewestGpus(choice)).toBe(3);
    // 5 would be enough, and 24 heads are divided by 6.
    expect(fewestGpus({ ...choice, need: (n) => (70 * gib) / n })).toBe(6);
    expect(fewestGpus({ ...choice, numHeads: undefined, need: (n) => (70 * gib) / n })).toBe(5);
    expect(fewestGpus({ ...choice, processes: 2 })).toBe(4);
  });

  test('are as many as can share it, where none are enough: what is missing shows when it is loaded', () => {
    expect(fewestGpus({ ...choice, need: () => 100 * gib })).toBe(8);
    expect(() => fewestGpus({ ...choice, processes: 5, memories: [gib] })).toThrow(ShardingError);
  });
});

test('NCCL is looked for where Python has it', () => {
  const folder = mkdtempSync(join(tmpdir(), 'mamba2-nccl-'));
  const packages = join(folder, 'lib/python3.12/site-packages/nvidia/nccl/lib');
  mkdirSync(packages, { recursive: true });
  mkdirSync(join(folder, 'bin'));
  writeFileSync(join(packages, 'libnccl.so.2'), '');
  const found = ['libnccl.so.2', join(packages, 'libnccl.so.2')];
  expect(ncclCandidates({ VIRTUAL_ENV: folder })).toEqual(found);
  expect(ncclCandidates({ PATH: `/nowhere:${join(folder, 'bin')}` })).toEqual(['libnccl.so.2']);
  writeFileSync(join(folder, 'bin/python3'), '');
  expect(ncclCandidates({ PATH: `/nowhere:${join(folder, 'bin')}`, CONDA_PREFIX: folder })).toEqual(found);
  rmSync(folder, { recursive: true });
});

describe.runIf(need('g++') && process.platform === 'linux')('several GPUs, emulated', () => {
  let driver: EmulatedDriver | undefined;
  const environment: NodeJS.ProcessEnv = { EMULATED_ASYNC: '1', EMULATED_DEVICES: '3' };
  beforeAll(async () => {
    driver = await buildEmulatedDriver(['FLOAT32']);
    environment.MAMBA2_CUDA_LIBRARY = driver.library;
    environment.MAMBA2_NCCL_LIBRARY = await buildEmulatedNccl(driver);
    Object.assign(process.env, environment);
  });
  afterEach(() => {
    for (const name of ['MAMBA2_NCCL_TIMEOUT', 'EMULATED_NCCL_VERSION', 'EMULATED_NCCL_FAIL_AFTER']) {
      delete process.env[name];
    }
    Object.assign(process.env, environment);
  });
  afterAll(() => {
    for (const name of Object.keys(environment)) delete process.env[name];
    driver?.dispose();
  });

  describe('collectives', () => {
    test('all-reduce, all-gather and broadcast are those of threads', async () => {
      const data = [1, 2, 3].map((seed) => new SeededRandom(seed).floats(1_100_000));
      const sum = data[0].map((value, i) => value + data[1][i] + data[2][i]);
      for (const result of await onRanks('allReduce', 3, { data })) {
        expect(largestDifference(result as Float32Array, sum)).toBeLessThan(1e-6);
      }
      const short = data.map((values) => values.slice(0, 1001));
      for (const result of await onRanks('allGather', 3, { data: short })) {
        expect(result).toEqual(Float32Array.from(short.flatMap((values) => [...values])));
      }
      for (const result of await onRanks('broadcast', 3, { data: short, source: 1 })) expect(result).toEqual(short[1]);
    });

    test('many of all kinds follow one another', async () => {
      const [first, ...others] = await onRanks('manyCollectives', 2, { rounds: 60 });
      for (const other of others) expect(other).toEqual(first);
    });
  });

  // Besides the first: experts, and attention whose heads 3 ranks don't divide.
  const models = ['mamba2', ...few(['granitemoehybrid', 'bamba', 'falcon_h1', 'nemotron_h', 'zamba2'], 1)];
  test.each(models)('a model of %s on two GPUs', async (name) => {
    const { logits, greedy, input } = await golden(name);
    const llm = await load(name, { tensorParallelSize: 2 });
    try {
      // A processor takes its time for a whole prompt.
      const begin = isFullRun ? input : input.slice(0, 10);
      const found = await llm.logits(begin);
      expect(largestDifference(found, logits.subarray(0, found.length))).toBeLessThan(5e-4);
      const short = input.slice(0, 5);
      expect(await llm.logits(short)).toEqual(await llm.logits(short));
      const greedily = { temperature: 0, maxTokens: 4, ignoreEos: true };
      const answers = await Promise.all([llm.complete(begin, greedily), llm.complete(begin, greedily)]);
      expect(answers[1].tokenIds).toEqual(answers[0].tokenIds);
      if (isFullRun) expect([...answers[0].tokenIds]).toEqual(greedy.slice(0, 4));
    } finally {
      await llm.dispose();
    }
  });

  test('a hybrid on three GPUs, which do not divide its heads, as on one', async () => {
    const { input } = await golden('granitemoehybrid');
    const results: Float32Array[] = [];
    for (const tensorParallelSize of [1, 3]) {
      const llm = await load('granitemoehybrid', { tensorParallelSize });
      results.push(await llm.logits(input.slice(0, 10)));
      await llm.dispose();
    }
    expect(largestDifference(results[1], results[0])).toBeLessThan(1e-4);
  });

  test('tokens are drawn on the GPUs, the same on all', async () => {
    const { input } = await golden('mamba2');
    const drawn: number[][] = [];
    for (const tensorParallelSize of [1, 2]) {
      const llm = await load('mamba2', { tensorParallelSize });
      const { tokenIds } = await llm.complete(input.slice(0, 5), {
        ...{ seed: 5, temperature: 1, maxTokens: 8, ignoreEos: true },
      });
      drawn.push([...tokenIds]);
      await llm.dispose();
    }
    expect(drawn[1]).toEqual(drawn[0]);
  });

  describe('jobs', () => {
    const args = [fileURLToPath(new URL('./job-process.ts', import.meta.url)), `${goldens}/mamba2`];
    let expected = '';
    beforeAll(async () => {
      const llm = await load('mamba2', { tensorParallelSize: 1 });
      const { tokenIds } = await llm.complete([1, 2, 3], { temperature: 0, maxTokens: 6, ignoreEos: true });
      expected = JSON.stringify([...tokenIds]);
      await llm.dispose();
    });

    test('of processes that find each other by an address', async () => {
      const address = `127.0.0.1:${await freePort()}`;
      const start = (rank: number) => promisify(execFile)(process.execPath, [...args, address, `${rank}`]);
      const [first, second] = await Promise.allSettled([start(0), start(1)]);
      // If the first fails, that is why the other does.
      expect(first).toMatchObject({ status: 'fulfilled', value: { stdout: expected } });
      expect(second).toMatchObject({ status: 'fulfilled' });
    });

    const program = need('openmpi');
    test.runIf(program)('of processes that mpirun starts', async () => {
      const { ended } = startLocally({ name: 'openmpi', program: program ?? '' }, args);
      expect(await ended).toMatchObject({ code: 0, stdout: expected });
    });
  });

  describe('failures', () => {
    test.each(['SIGKILL', 'SIGSTOP'] as const)(
      'a rank that gets %s ends the request, and is replaced',
      async (signal) => {
        // More than a step takes on a machine with other work.
        if (signal === 'SIGSTOP') process.env.MAMBA2_NCCL_TIMEOUT = '12';
        const prompt = (await golden('mamba2')).input.slice(0, 5);
        const greedily = { temperature: 0, maxTokens: 4, ignoreEos: true };
        const llm = await load('mamba2', { tensorParallelSize: 2, recover: true });
        try {
          const known = await llm.complete(prompt, greedily);
          const long = llm.complete(prompt, { ...greedily, maxTokens: 5000 });
          const ended = expect(long).rejects.toThrow(
            signal === 'SIGKILL' ? /^Rank 1 was ended by SIGKILL/ : /^Rank 1 hung in a step/,
          );
          await new Promise((resolve) => setTimeout(resolve, 300));
          process.kill(rankProcesses()[1], signal);
          await ended;
          await expect(long).rejects.toThrow(RankFailedError);
          expect((await llm.complete(prompt, greedily)).tokenIds).toEqual(known.tokenIds);
        } finally {
          await llm.dispose();
        }
        expect(rankProcesses()).toEqual([]);
      },
    );

    test('an exchange that NCCL reports as failed ends the request', async () => {
      process.env.EMULATED_NCCL_FAIL_AFTER = '5';
      const { input } = await golden('mamba2');
      const llm = await load('mamba2', { tensorParallelSize: 2 });
      await expect(llm.logits(input)).rejects.toThrow(
        /^Rank [01]: NCCL reports for an exchange: remote process exited .*NCCL_DEBUG=WARN/,
      );
      await llm.dispose();
    });

    test('without NCCL, or with an old one, the error says what to install', async () => {
      process.env.MAMBA2_NCCL_LIBRARY = '/nowhere/libnccl.so.2';
      await expect(load('mamba2', { tensorParallelSize: 2 })).rejects.toThrow(MissingPackageError);
      await expect(load('mamba2', { tensorParallelSize: 2 })).rejects.toThrow(/nvidia-nccl-cu12.*MAMBA2_NCCL_LIBRARY/);
      // One GPU needs none.
      await (await load('mamba2', { tensorParallelSize: 'auto' })).dispose();
      process.env.MAMBA2_NCCL_LIBRARY = environment.MAMBA2_NCCL_LIBRARY;
      process.env.EMULATED_NCCL_VERSION = '2708';
      await expect(load('mamba2', { tensorParallelSize: 2 })).rejects.toThrow(/is NCCL 2\.7, which is too old/);
    });

    test('there are fewer GPUs than ranks', async () => {
      const loading = load('mamba2', { tensorParallelSize: 4 });
      await expect(loading).rejects.toThrow(/tensorParallelSize is 4, and there are 3 GPUs/);
    });
  });
});

function load(name: string, options: LoadOptions): Promise<LLM> {
  return LLM.load(`${goldens}/${name}`, { device: 'cuda', dtype: 'float32', ...options });
}

async function golden(name: string) {
  const folder = `${goldens}/${name}`;
  const { input_ids: input, greedy } = JSON.parse(readFileSync(`${folder}/expected.json`, 'utf8')) as {
    readonly input_ids: number[];
    readonly greedy: number[];
  };
  const source = await openFile(`${folder}/expected.safetensors`);
  const logits = await (await SafetensorsFile.open(source)).readFloat32('logits');
  await source.close();
  return { input, greedy, logits };
}

/** What a function of collectives-on-ranks.ts gives on each rank, of which each is a process. */
async function onRanks(name: NcclTask['name'], size: number, input: unknown): Promise<unknown[]> {
  const id = (await NcclLibrary.load()).uniqueId();
  const script = fileURLToPath(new URL('./nccl-rank.ts', import.meta.url));
  const ranks = Array.from({ length: size }, async (_, rank) => {
    const child = fork(script, { execArgv: [], serialization: 'advanced' });
    const task: NcclTask = { place: { id, rank, size, gpu: rank }, name, input };
    child.send(task);
    const [reply] = (await once(child, 'message')) as [{ readonly result?: unknown; readonly error?: Error }];
    if (reply.error) throw new Error(reply.error.message);
    return reply.result;
  });
  return Promise.all(ranks);
}

/** Ids of this process's ranks, in their order. */
function rankProcesses(): number[] {
  const pids = readdirSync('/proc').map(Number).filter(Number.isInteger);
  const children = pids.filter((pid) => {
    try {
      const [, parent] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
      return Number(parent) === process.pid && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('rank-worker');
    } catch {
      // It has ended.
      return false;
    }
  });
  return children.sort((a, b) => a - b);
}

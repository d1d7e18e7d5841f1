import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';

// The package as it is built: types would be stripped from modules that are imported while a model loads.
import { type DTypeChoice, LLM, type ProgressEvent } from '../dist/index.js';

/** Milliseconds of the clock, and of processors in all threads, which tell little of what else the machine does. */
export interface Duration {
  readonly clock: number;
  readonly processors: number;
}

/** Parts of a load: header, tokenizer and configs; kernels compiled and checked, layers made; weights; the rest. */
export const PHASES = ['describe', 'start', 'weights', 'rest'] as const;
type Phase = (typeof PHASES)[number];

/** What one process measures of a model's file. Milliseconds and bytes. */
export interface LoadRun {
  readonly bytes: number;
  readonly read: Duration;
  readonly load: Duration;
  /** Parts of the load, one after the other. */
  readonly phases: Readonly<Record<Phase, number>>;
  /** Time to the first token after the load. */
  readonly firstToken: number;
  /**
   * Memory that the model takes, and the most that the process took while loading: resident, without what it had before. The
   * latter only where the process had read nothing before.
   */
  readonly memory: number;
  readonly peakMemory: number;
}

const READ_BYTES = 2 ** 22;

/** Runs in a process of its own: nothing is compiled or warm but the file in the system's cache. */
if (import.meta.main) {
  const [path, threads, order, dtype] = process.argv.slice(2);
  const file = (await stat(path)).isDirectory() ? join(path, 'model.safetensors') : path;
  const first = order === 'read' ? await readPlainly(file) : undefined;
  const loaded = await load(path, Number(threads), dtype);
  const read = first ?? (await readPlainly(file));
  const { size } = await stat(file);
  process.stdout.write(JSON.stringify({ bytes: size, read, ...loaded } satisfies LoadRun));
}

/** Reads all bytes, one piece after the other, into memory that was taken before. */
async function readPlainly(file: string): Promise<Duration> {
  const handle = await open(file, 'r');
  const { size } = await handle.stat();
  const bytes = Buffer.allocUnsafeSlow(size);
  const duration = stopwatch();
  for (let offset = 0; offset < size; ) {
    offset += (await handle.read(bytes, offset, Math.min(READ_BYTES, size - offset), offset)).bytesRead;
  }
  const read = duration();
  await handle.close();
  return read;
}

/** Begins to measure. → a function that says how long it was */
function stopwatch(): () => Duration {
  const begin = performance.now();
  const before = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(before);
    return { clock: performance.now() - begin, processors: (user + system) / 1000 };
  };
}

async function load(
  source: string,
  tensorParallelSize: number,
  dtype: string,
): Promise<Omit<LoadRun, 'bytes' | 'read'>> {
  const before = process.memoryUsage.rss();
  const times = new Map<ProgressEvent['status'], number>();
  const duration = stopwatch();
  const begin = performance.now();
  const now = () => performance.now() - begin;
  let weightsBegin = 0;
  const llm = await LLM.load(source, {
    device: 'cpu',
    dtype: dtype as DTypeChoice,
    tensorParallelSize,
    onProgress: ({ status }) => {
      if (status === 'load' && weightsBegin === 0) weightsBegin = now();
      times.set(status, now());
    },
  });
  const whole = duration();
  const time = now();
  const memory = process.memoryUsage.rss() - before;
  // Node counts it in KiB.
  const peak = process.resourceUsage().maxRSS * 1024;
  const at = (status: ProgressEvent['status']) => times.get(status) ?? 0;
  await llm.complete([1, 2, 3], { maxTokens: 1 });
  const firstToken = now() - time;
  await llm.dispose();
  return {
    load: whole,
    phases: {
      describe: at('device'),
      start: weightsBegin - at('device'),
      weights: at('load') - weightsBegin,
      rest: time - at('load'),
    },
    firstToken,
    memory,
    peakMemory: peak - before,
  };
}

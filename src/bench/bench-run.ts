import type { BenchRun } from './bench-report.ts';
import { type BenchLoad, type BenchSource, loadTarget, peakMemory } from './bench-target.ts';
import { type BenchSettings, measure } from './measure.ts';

/** Display of how far measuring has come. */
export interface BenchProgress {
  show(what: string, done: number, total: number): void;
  stop(): void;
}

/** Loads the model in one dtype, measures it, and lets go of it. */
export async function measureDType(
  source: BenchSource,
  load: BenchLoad,
  settings: BenchSettings,
  progress: BenchProgress,
): Promise<BenchRun> {
  const { dtype: asked, signal } = load;
  signal.throwIfAborted();
  const target = await loadTarget(source, load);
  try {
    const onProgress = (done: number, total: number) => progress.show(`Measuring ${asked}`, done, total);
    const measurements = await measure(target, settings, signal, onProgress);
    const { dtype, loadSeconds, bytes, memory, operations } = target;
    return { dtype, loadSeconds, bytes, memory, operations, peakMemoryBytes: peakMemory(), measurements };
  } finally {
    progress.stop();
    await target.context.executor.dispose();
  }
}

import type { Measurement } from './bench-measure.ts';
import type { ModelBytes } from './bench-target.ts';
import { formatBytes, formatTable } from './table.ts';

/** What a run was made on. */
export interface BenchMachine {
  readonly cpu: string;
  readonly node: string;
  /** With as many threads as the model has ranks. */
  readonly readBytesPerSecond: number;
}

/** A measurement with the memory traffic behind it. */
export interface BenchMeasurement extends Measurement {
  /** Weights once and states twice (read, written) per step; null for prefill, which arithmetic bounds. */
  readonly bytesPerSecond: number | null;
  /** Of what the machine's memory can be read with. Above 1 where the model stays in the caches. */
  readonly bandwidthShare: number | null;
}

/** What one dtype's run gave. */
export interface BenchRun {
  readonly dtype: string;
  readonly loadSeconds: number;
  readonly bytes: ModelBytes;
  /** Largest resident size of the process until the end of this result. */
  readonly peakMemoryBytes: number;
  readonly measurements: readonly Measurement[];
}

/** The same, related to the machine's memory. */
export interface BenchResult extends BenchRun {
  readonly measurements: readonly BenchMeasurement[];
}

/** Everything that one command line measured. */
export interface BenchReport {
  readonly model: string;
  readonly device: string;
  readonly ranks: number;
  readonly machine: BenchMachine;
  readonly results: readonly BenchResult[];
}

/** Relates what was measured to the machine's memory. */
export function withTraffic(run: BenchRun, { readBytesPerSecond }: BenchMachine): BenchResult {
  const { weightsRead, state } = run.bytes;
  const measurements = run.measurements.map((measurement) => {
    const { work, batchSize, tokensPerSecond } = measurement;
    if (work === 'prefill') return { ...measurement, bytesPerSecond: null, bandwidthShare: null };
    const bytesPerSecond = (tokensPerSecond.median / batchSize) * (weightsRead + 2 * batchSize * state);
    return { ...measurement, bytesPerSecond, bandwidthShare: bytesPerSecond / readBytesPerSecond };
  });
  return { ...run, measurements };
}

/** The report for people. */
export function describeReport({ model, device, ranks, machine, results }: BenchReport): string {
  const threads = ranks === 1 ? '1 thread' : `${ranks} threads`;
  return [
    `${model} on ${device} with ${threads}, Node ${machine.node}, ${machine.cpu}`,
    `memory reads ${formatBytes(machine.readBytesPerSecond)}/s with ${threads}`,
    ...results.flatMap((result) => ['', ...describeResult(result)]),
  ].join('\n');
}

function describeResult({ dtype, loadSeconds, bytes, peakMemoryBytes, measurements }: BenchResult): string[] {
  const rows = measurements.map(({ work, batchSize, tokens, tokensPerSecond, bytesPerSecond, bandwidthShare }) => [
    batchSize === 1 ? `${work} ${tokens}` : `${work} ${tokens}, ${batchSize} sequences`,
    rate(tokensPerSecond.median),
    `${rate(tokensPerSecond.min)} - ${rate(tokensPerSecond.max)}`,
    bytesPerSecond === null ? '' : `${formatBytes(bytesPerSecond)}/s`,
    bandwidthShare === null ? '' : `${(100 * bandwidthShare).toFixed(0)}%`,
  ]);
  return [
    `${dtype}: weights ${formatBytes(bytes.weights)}, state ${formatBytes(bytes.state)} per sequence, ` +
      `loaded in ${loadSeconds.toFixed(1)} s, peak memory ${formatBytes(peakMemoryBytes)}`,
    formatTable([['work', 'tokens/s', 'min - max', 'memory traffic', 'of bandwidth'], ...rows]),
  ];
}

function rate(tokensPerSecond: number): string {
  return tokensPerSecond.toFixed(tokensPerSecond < 100 ? 2 : 1);
}

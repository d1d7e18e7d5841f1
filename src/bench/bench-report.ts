import type { FormChoice } from '../backends/cpu/kernels/try-products.ts';
import { isQuantized, type MatrixDType } from '../tensor/block-formats.ts';
import type { ArithmeticPeak } from './arithmetic-peak.ts';
import type { MemoryUse, ModelBytes, ModelOperations } from './bench-target.ts';
import type { Measurement } from './measure.ts';

/** The machine, and its limits for as many threads as the model has ranks. */
export interface BenchMachine {
  readonly cpu: string;
  readonly node: string;
  /** Forms of products on the processor, of several rows and of one. */
  readonly kernels: FormChoice;
  readonly readBytesPerSecond: number;
  readonly operationsPerSecond: ArithmeticPeak;
}

/** A measurement with its memory traffic and its arithmetic. */
export interface BenchMeasurement extends Measurement {
  /** Weights once and states twice (read and written) per step, as if none replayed; null for prefill: arithmetic bounds it. */
  readonly bytesPerSecond: number | null;
  /** Share of the machine's read bandwidth. */
  readonly bandwidthShare: number | null;
  /** Operations of products with weights, two per product. */
  readonly productsPerSecond: number;
  /** Operations of the scan. */
  readonly scanPerSecond: number;
  /** The part of the time that products and scan alone would take, both at their peaks one after the other. */
  readonly arithmeticShare: number;
}

/** Results of one dtype. */
export interface BenchRun {
  readonly dtype: MatrixDType;
  readonly loadSeconds: number;
  readonly bytes: ModelBytes;
  readonly memory: MemoryUse;
  readonly operations: ModelOperations;
  /** Largest resident size of the process until the end of this result. */
  readonly peakMemoryBytes: number;
  readonly measurements: readonly Measurement[];
}

/** Results of one dtype, related to the machine's limits. */
export interface BenchResult extends BenchRun {
  readonly measurements: readonly BenchMeasurement[];
}

/** Everything that one command line measured. */
export interface BenchReport {
  readonly model: string;
  readonly device: string;
  /** Ranks of each stage. */
  readonly ranks: number;
  readonly stages: number;
  readonly machine: BenchMachine;
  readonly results: readonly BenchResult[];
}

/** Relates measurements to the machine's limits. */
export function withShares(run: BenchRun, machine: BenchMachine): BenchResult {
  const measurements = run.measurements.map((measurement) => ({
    ...measurement,
    ...traffic(measurement, run.bytes, machine),
    ...arithmetic(measurement, run, machine),
  }));
  return { ...run, measurements };
}

function traffic(
  { work, batchSize, tokensPerSecond }: Measurement,
  { weightsRead, experts, state }: ModelBytes,
  { readBytesPerSecond }: BenchMachine,
): Pick<BenchMeasurement, 'bytesPerSecond' | 'bandwidthShare'> {
  if (work === 'prefill') return { bytesPerSecond: null, bandwidthShare: null };
  // As many experts as the tokens of a step visit on average, where they choose them independently.
  const visited = experts.weights * (1 - (1 - experts.visited) ** batchSize);
  const bytesPerSecond = (tokensPerSecond.median / batchSize) * (weightsRead + visited + 2 * batchSize * state);
  return { bytesPerSecond, bandwidthShare: bytesPerSecond / readBytesPerSecond };
}

function arithmetic(
  { tokens, logitRows, tokensPerSecond }: Measurement,
  { dtype, operations }: BenchRun,
  { operationsPerSecond: peak }: BenchMachine,
): Pick<BenchMeasurement, 'productsPerSecond' | 'scanPerSecond' | 'arithmeticShare'> {
  const { products, head, scan } = operations;
  const productsPerSecond = tokensPerSecond.median * (products + (head * logitRows) / tokens);
  const scanPerSecond = tokensPerSecond.median * scan;
  const productPeak = isQuantized(dtype) ? peak.int8 : peak.float32;
  const arithmeticShare = productsPerSecond / productPeak + scanPerSecond / peak.float32;
  return { productsPerSecond, scanPerSecond, arithmeticShare };
}

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { BenchReport } from '../src/bench/bench-report.ts';
import { run } from './child-process.ts';
import type { Machine } from './machine.ts';
import { NODE_OPTIONS } from './processor.ts';
import { type DType, decodeName, prefillName, type Rates, type Workload } from './workload.ts';

const ROOT = join(import.meta.dirname, '..');
const MAIN = join(ROOT, 'dist', 'cli', 'main.js');
const NODE = join(ROOT, 'node_modules', '.bin', 'node');

/** What runs ours, and which kernels it chose. */
export interface OurRun {
  readonly rates: Rates;
  /** Forms of products that the backend chose, by what they are for. */
  readonly kernels: Readonly<Record<string, string>>;
}

/** → the versions of Node and V8 that run it. @throws where the package is not built */
export async function requireOurs(): Promise<string> {
  for (const file of [MAIN, NODE]) {
    if (!existsSync(file)) throw new Error(`There is no '${file}'. Run 'npm ci' in the project's folder first.`);
  }
  const [node, v8] = JSON.parse(
    await run(NODE, ['-p', 'JSON.stringify([process.versions.node, process.versions.v8])']),
  );
  return `Node ${node}, V8 ${v8}`;
}

/**
 * One run of everything with the built package, each work after a run for warming up.
 * @param file to run as it is, in place of the shape in a dtype
 */
export async function runOurs(dtype: DType, workload: Workload, machine: Machine, file?: string): Promise<OurRun> {
  const { shape, threads, promptTokens, generateTokens, sequences, repetitions, states, matmulPrecision } = workload;
  const { device } = machine;
  const output = await run(NODE, [
    ...[...NODE_OPTIONS[device === 'cpu' ? machine.kind : 'native'], MAIN, 'bench', '--json', '--device', device],
    ...['--tensor-parallel-size', device === 'cpu' ? `${threads}` : '1'],
    ...(file === undefined ? ['--shape', shape, '--dtype', dtype] : ['--model', file]),
    ...['--prompt-tokens', promptTokens.join(','), '--generate-tokens', `${generateTokens}`],
    ...['--batch-sizes', `1,${sequences}`, '--repetitions', `${repetitions}`, '--mamba-ssm-cache-dtype', states],
    ...(device === 'cuda' ? ['--matmul-precision', matmulPrecision] : []),
  ]);
  const report: BenchReport = JSON.parse(output);
  const rates = new Map<string, number>();
  for (const { work, batchSize, tokens, tokensPerSecond } of report.results[0].measurements) {
    if (work === 'prefill') rates.set(prefillName(tokens), tokensPerSecond.median);
    if (work === 'decode') rates.set(decodeName(batchSize), tokensPerSecond.median);
  }
  const { prompt, decode } = report.machine.kernels;
  return { rates, kernels: { prompt, decode } };
}

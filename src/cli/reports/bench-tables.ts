import type { BenchReport, BenchResult } from '../../bench/bench-report.ts';
import { formatBytes, formatTable } from '../terminal/table.ts';

/** The report for people. */
export function describeReport({ model, device, ranks, stages, machine, results }: BenchReport): string {
  const threads = ranks === 1 ? '1 thread' : `${ranks} threads`;
  const { cpu, node, kernels, readBytesPerSecond, operationsPerSecond } = machine;
  return [
    `${model} on ${device} with ${stages === 1 ? '' : `${stages} stages of `}${threads}, Node ${node}, ${cpu}`,
    `products: ${kernels.prompt} for several rows, ${kernels.decode} for one`,
    `with ${threads} memory reads ${formatBytes(readBytesPerSecond)}/s, arithmetic peaks at ` +
      `${formatRate(operationsPerSecond.float32)} in float32, ${formatRate(operationsPerSecond.int8)} in int8`,
    ...results.flatMap((result) => ['', ...describeResult(result)]),
  ].join('\n');
}

function describeResult(result: BenchResult): string[] {
  const { dtype, loadSeconds, bytes, memory, operations, peakMemoryBytes, measurements } = result;
  const rows = measurements.map((measurement) => {
    const { work, batchSize, tokens, tokensPerSecond, bytesPerSecond, bandwidthShare } = measurement;
    const { productsPerSecond, scanPerSecond, arithmeticShare } = measurement;
    return [
      batchSize === 1 ? `${work} ${tokens}` : `${work} ${tokens}, ${batchSize} sequences`,
      rate(tokensPerSecond.median),
      `${rate(tokensPerSecond.min)} - ${rate(tokensPerSecond.max)}`,
      bytesPerSecond === null ? '' : `${formatBytes(bytesPerSecond)}/s`,
      bandwidthShare === null ? '' : percent(bandwidthShare),
      formatRate(productsPerSecond + scanPerSecond),
      percent(arithmeticShare),
    ];
  });
  const { products, head, scan } = operations;
  return [
    `${dtype}: weights ${formatBytes(bytes.weights)}, state ${formatBytes(bytes.state)} per sequence, ` +
      `loaded in ${loadSeconds.toFixed(1)} s`,
    `memory: ${formatBytes(memory.loaded)} once loaded, ${formatBytes(memory.overhead)} of it over weights and states; ` +
      `peak ${formatBytes(memory.peakWhileLoading)} while loading, ${formatBytes(peakMemoryBytes)} in all`,
    `million operations: ${millions(products)} of products and ${millions(scan)} of the scan per token, ` +
      `${millions(head)} of the head per row of logits`,
    formatTable([
      ['work', 'tokens/s', 'min - max', 'memory traffic', 'of bandwidth', 'arithmetic', 'of peak'],
      ...rows,
    ]),
  ];
}

/** 1.89e11 → '189.0 Gop/s' */
function formatRate(operationsPerSecond: number): string {
  return `${(operationsPerSecond / 1e9).toFixed(1)} Gop/s`;
}

function millions(operations: number): string {
  return (operations / 1e6).toFixed(1);
}

function percent(share: number): string {
  return `${(100 * share).toFixed(0)}%`;
}

function rate(tokensPerSecond: number): string {
  return tokensPerSecond.toFixed(tokensPerSecond < 100 ? 2 : 1);
}

import { type Line, plotsToSvg } from './line-plot.ts';
import { byConcurrency, type LoadResult } from './load-report.ts';
import { type LoadRound, throughput } from './load-round.ts';
import { median, percentile } from './percentiles.ts';

const COLORS = ['#1f6feb', '#d1242f', '#2da44e', '#8250df'];

/** docs/load.svg: throughput, and latencies at p50 and p99, by concurrency. */
export function loadPlot(results: readonly LoadResult[]): string {
  const lines = (label: string, dashed: boolean, value: (rounds: readonly LoadRound[]) => number): Line[] =>
    results.map(({ threads, rounds }, i) => ({
      label: `${label}${threads} thread${threads === 1 ? '' : 's'}`,
      color: COLORS[i % COLORS.length],
      dashed,
      points: [...byConcurrency(rounds)].map(([concurrency, group]) => [concurrency, value(group)] as const),
    }));
  const samples = (rounds: readonly LoadRound[], of: 'first' | 'gaps') =>
    rounds.flatMap(({ requests }) =>
      requests.flatMap(({ firstToken, gaps }) => (of === 'first' ? [firstToken] : gaps)),
    );
  const latencies = (of: 'first' | 'gaps') =>
    ([0.5, 0.99] as const).flatMap((share) =>
      lines(`p${share * 100}, `, share > 0.5, (rounds) => percentile(samples(rounds, of), share)),
    );
  const xLabel = 'requests at once';
  return plotsToSvg([
    { title: 'tokens per second', xLabel, lines: lines('', false, (rounds) => median(rounds.map(throughput))) },
    { title: 'milliseconds to the first token', xLabel, lines: latencies('first'), logarithmic: true },
    { title: 'milliseconds between tokens', xLabel, lines: latencies('gaps'), logarithmic: true },
  ]);
}

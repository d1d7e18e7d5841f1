import { cpus } from 'node:os';
import type { Turn } from './chat-turns.ts';
import { type LoadRound, throughput } from './load-round.ts';
import { median, percentile } from './percentiles.ts';

/** Measurements with a number of threads. */
export interface LoadResult {
  readonly threads: number;
  /** Several rounds of each concurrency, taken in turns. */
  readonly rounds: readonly LoadRound[];
}

export interface ChatResult {
  readonly withCache: readonly (readonly Turn[])[];
  readonly withoutCache: readonly (readonly Turn[])[];
}

/** The rounds of one concurrency. */
export function byConcurrency(rounds: readonly LoadRound[]): Map<number, LoadRound[]> {
  return Map.groupBy(rounds, ({ concurrency }) => concurrency);
}

/** The measured part of docs/load.md. */
export function loadReport(results: readonly LoadResult[], chat: ChatResult): string {
  const [cpu] = cpus();
  const { requests } = results[0].rounds[0];
  const rounds = byConcurrency(results[0].rounds).values().next().value?.length ?? 0;
  const tokens = (of: 'promptTokens' | 'completionTokens') => requests.map((request) => request[of]);
  return [
    `Node ${process.versions.node}, ${cpus().length} × ${cpu.model.trim()}; shared by client and server.`,
    `${requests.length} requests a round; prompts of ${range(tokens('promptTokens'))} tokens, answers of ${range(tokens('completionTokens'))} tokens;`,
    `${rounds} rounds of each concurrency, in turns. Throughput is the median of the rounds (least – greatest); latencies`,
    'are of all rounds together, measured by the client.',
    ...results.flatMap((result) => ['', ...resultTable(result)]),
    '',
    '![Throughput and latencies by concurrency](load.svg)',
    '',
    '## Ten turns of a chat',
    '',
    ...chatTable(chat),
  ].join('\n');
}

function resultTable({ threads, rounds }: LoadResult): string[] {
  const groups = byConcurrency(rounds);
  const rows = [...groups].map(([concurrency, group]) => {
    const rates = group.map(throughput);
    const requests = group.flatMap((round) => round.requests);
    const first = requests.map(({ firstToken }) => firstToken);
    const gaps = requests.flatMap((request) => request.gaps);
    const spread = `${median(rates).toFixed(0)} (${Math.min(...rates).toFixed(0)} – ${Math.max(...rates).toFixed(0)})`;
    return `| ${[concurrency, spread, ratio(groups.get(1), group), ...quantiles(first), ...quantiles(gaps)].join(' | ')} |`;
  });
  return [
    `With ${threads} thread${threads === 1 ? '' : 's'} for the model:`,
    '',
    '| requests at once | tokens/s | ratio to one request | first token, ms: p50 | p95 | p99 | between tokens, ms: p50 | p95 | p99 |',
    '| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |',
    ...rows,
  ];
}

/** Rounds that were taken next to each other are compared. */
function ratio(alone: readonly LoadRound[] | undefined, group: readonly LoadRound[]): string {
  if (!alone) return '';
  const ratios = group.map((round, i) => throughput(round) / throughput(alone[i]));
  return `${median(ratios).toFixed(2)} ×`;
}

function chatTable({ withCache, withoutCache }: ChatResult): string[] {
  const rows = withCache[0].map(({ promptTokens, cachedTokens }, turn) => {
    const times = [withCache, withoutCache].map((chats) => median(chats.map((turns) => turns[turn].firstToken)));
    return `| ${[turn + 1, promptTokens, promptTokens - cachedTokens, ...times.map((ms) => ms.toFixed(1))].join(' | ')} |`;
  });
  return [
    `Each turn sends the whole conversation again; medians of ${withCache.length} conversations.`,
    'The cache saves the tokens that were processed before.',
    '',
    '| turn | prompt tokens | processed | first token, ms | first token without the cache, ms |',
    '| ---: | ---: | ---: | ---: | ---: |',
    ...rows,
  ];
}

function quantiles(samples: readonly number[]): string[] {
  return [0.5, 0.95, 0.99].map((share) => percentile(samples, share).toFixed(1));
}

function range(values: readonly number[]): string {
  return `${Math.min(...values)} to ${Math.max(...values)} (median ${median(values)})`;
}

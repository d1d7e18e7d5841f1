// Measures the server under load and writes docs/load.md and docs/load.svg.
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { runChat, type Turn } from './chat-turns.ts';
import { writeSection } from './docs-section.ts';
import { loadPlot } from './load-plot.ts';
import { type LoadResult, loadReport } from './load-report.ts';
import { type LoadRound, runRound, throughput } from './load-round.ts';
import { ServerProcess } from './server-process.ts';
import { mixedRequests, turnTexts } from './workload.ts';

const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '200' },
    concurrency: { type: 'string', default: '1,8,32,64' },
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string', default: '1,2' },
    'dry-run': { type: 'boolean', default: false },
  },
});
const counts = (list: string) => list.split(',').map(Number);
const CHATS = 5;
const TURNS = 10;

async function measureLoad(threads: number): Promise<LoadResult> {
  const server = await ServerProcess.start(['--max-num-seqs', '64', '--tensor-parallel-size', `${threads}`]);
  try {
    await runRound(server.url, mixedRequests(32, 0), 32);
    const rounds: LoadRound[] = [];
    for (let round = 1; round <= Number(values.rounds); round++) {
      for (const concurrency of counts(values.concurrency)) {
        // Texts of its own: what was answered before would be known.
        const bodies = mixedRequests(Number(values.requests), 1000 * round + concurrency);
        const measured = await runRound(server.url, bodies, concurrency);
        rounds.push(measured);
        console.error(
          `${threads} threads, round ${round}, ${concurrency} at once: ${throughput(measured).toFixed(0)} tokens/s`,
        );
      }
    }
    return { threads, rounds };
  } finally {
    await server.stop();
  }
}

async function measureChats(args: readonly string[]): Promise<Turn[][]> {
  const server = await ServerProcess.start(args);
  try {
    await runChat(server.url, turnTexts(TURNS, 600, 0));
    const chats: Turn[][] = [];
    for (let seed = 1; seed <= CHATS; seed++) chats.push(await runChat(server.url, turnTexts(TURNS, 600, seed)));
    return chats;
  } finally {
    await server.stop();
  }
}

const results: LoadResult[] = [];
for (const threads of counts(values.threads)) results.push(await measureLoad(threads));
const withCache = await measureChats([]);
const withoutCache = await measureChats(['--prefix-cache-size', '0']);
const report = loadReport(results, { withCache, withoutCache });
console.log(report);
if (!values['dry-run']) {
  await writeSection('load', report);
  await writeFile(new URL('../../docs/load.svg', import.meta.url), loadPlot(results));
}

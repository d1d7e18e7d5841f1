// Keeps the server under mixed load and fails unless its memory stays flat. Writes docs/load.md.
import { parseArgs } from 'node:util';
import { writeSection } from './docs-section.ts';
import { HOSTILE_BODIES, type HostileBody } from './hostile-bodies.ts';
import { HOSTILE_REQUESTS } from './hostile-requests.ts';
import { runRound } from './load-round.ts';
import { median } from './percentiles.ts';
import { seededRandom } from './seeded-random.ts';
import { ServerProcess } from './server-process.ts';
import { sendHostile, unrulyRequest } from './unruly-client.ts';
import { mixedRequests } from './workload.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    clients: { type: 'string', default: '16' },
    'dry-run': { type: 'boolean', default: false },
  },
});
const SAMPLE_SECONDS = 5;
/** So many between two lines on standard error. */
const PROGRESS_SAMPLES = 6;
const MIB = 2 ** 20;
/** Growth of the median from the second quarter of the time to the last that counts as flat. */
const FLAT = { rss: 24 * MIB, heapUsed: 4 * MIB, arrayBuffers: 8 * MIB };

/** Between two requests that could hold the server's event loop, and how long that may be held. */
const HOSTILE_SECONDS = 2;
const MOST_HOLD_MILLISECONDS = 50;

const seconds = Number(values.minutes) * 60;
// A cache that is full soon: until then memory grows by right.
const server = await ServerProcess.start(['--prefix-cache-size', '48', '--max-num-seqs', '12', '--log-level', 'info']);
// The model's memory grows by eighths to what its largest step needs, so the largest come first.
await runRound(server.url, mixedRequests(120, 1), 60);
for (const body of HOSTILE_REQUESTS) await sendHostile(server.url, body);
for (const hostile of HOSTILE_BODIES) await sendHostileBody(hostile);
const outcomes = new Map<string, number>();
const samples: NodeJS.MemoryUsage[] = [];
const end = performance.now() + seconds * 1000;
let requests = 0;

async function client(seed: number): Promise<void> {
  const random = seededRandom(seed);
  for (let batch = 0; performance.now() < end; batch++) {
    for (const body of mixedRequests(20, seed * 10_000 + batch)) {
      if (performance.now() >= end) return;
      const outcome = await unrulyRequest(server.url, body, random);
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      requests++;
    }
  }
}

/** → the status of the answer, which is read to its end */
async function sendHostileBody({ path, body }: HostileBody): Promise<number> {
  const init = { method: 'POST', body, headers: { 'content-type': 'application/json' } };
  const response = await fetch(`${server.url}${path}`, init);
  await response.arrayBuffer();
  return response.status;
}

async function attack(): Promise<void> {
  for (let i = 0; performance.now() < end; i++) {
    const outcome = `hostile ${await sendHostileBody(HOSTILE_BODIES[i % HOSTILE_BODIES.length])}`;
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    await new Promise((resolve) => setTimeout(resolve, HOSTILE_SECONDS * 1000));
  }
}

async function watch(): Promise<void> {
  // What came before was loading.
  await server.longestHold();
  while (performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, SAMPLE_SECONDS * 1000));
    const usage = await server.memory();
    samples.push(usage);
    if (samples.length % PROGRESS_SAMPLES === 0) {
      const [rss, heap] = [usage.rss, usage.heapUsed].map(mebibytes);
      console.error(`${requests} requests; memory ${rss} MiB, heap ${heap} MiB`);
    }
  }
}

/** A metric without labels of its own. */
async function metric(name: string): Promise<number> {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  return Number(new RegExp(`^mamba2:${name}\\{[^}]*\\} (\\S+)$`, 'm').exec(text)?.[1]);
}

await Promise.all([...Array.from({ length: Number(values.clients) }, (_, i) => client(i + 1)), attack(), watch()]);
const hold = await server.longestHold();
// Who has left is noticed in the next turn.
await new Promise((resolve) => setTimeout(resolve, 500));
const problems: string[] = [];
const [running, waiting, slots, free, tokens] = await Promise.all(
  ['num_requests_running', 'num_requests_waiting', 'state_slots', 'state_slots_free', 'generation_tokens_total'].map(
    metric,
  ),
);
if (running + waiting > 0 || free !== slots)
  problems.push(`${running} run, ${waiting} wait, ${free} of ${slots} slots are free`);
if ((await fetch(`${server.url}/health`)).status !== 200) problems.push('the server is not healthy');
const exitCode = await server.stop();
if (exitCode !== 0) problems.push(`the server ended with code ${exitCode}`);
if (hold > MOST_HOLD_MILLISECONDS) problems.push(`the event loop was held for ${hold.toFixed(1)} ms`);
for (const outcome of outcomes.keys())
  if (/^(hostile )?5/.test(outcome)) problems.push(`requests ended with ${outcome}`);

const quarter = Math.floor(samples.length / 4);
const rows = (['rss', 'heapUsed', 'arrayBuffers'] as const).map((kind) => {
  const of = (part: readonly NodeJS.MemoryUsage[]) => part.map((usage) => usage[kind]);
  const [early, late] = [of(samples.slice(quarter, 2 * quarter)), of(samples.slice(-quarter))];
  const growth = median(late) - median(early);
  if (growth > FLAT[kind]) problems.push(`${kind} grew by ${mebibytes(growth)} MiB`);
  const cells = [...[early, late].flatMap((part) => [Math.min(...part), median(part)]), Math.max(...of(samples))];
  return `| ${[kind, ...cells.map(mebibytes)].join(' | ')} |`;
});
const counts = [...outcomes].sort().map(([outcome, count]) => `${count} × ${outcome}`);
const report = [
  `${values.minutes} minutes, ${values.clients} clients, ${tokens} tokens generated, ${requests} requests:`,
  `${counts.join(', ')}.`,
  `Node ${process.versions.node}. Memory of the server in MiB after a garbage collection, every ${SAMPLE_SECONDS} s:`,
  '',
  '| | second quarter: least | median | last quarter: least | median | greatest |',
  '| --- | ---: | ---: | ---: | ---: | ---: |',
  ...rows,
  '',
  `One turn of the event loop took at most ${hold.toFixed(1)} ms of its thread's time.`,
].join('\n');
console.log(report);
for (const problem of problems) console.error(`failed: ${problem}`);
if (problems.length === 0 && !values['dry-run']) await writeSection('soak', report);
process.exitCode = problems.length === 0 ? 0 : 1;

function mebibytes(bytes: number): string {
  return (bytes / MIB).toFixed(1);
}

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { loadSynthetic } from '../dist/bench/load-synthetic.js';
import { MODEL_SHAPES, type ModelShape } from '../dist/bench/model-shapes.js';
import { AsyncLLMEngine } from '../dist/engine/async-llm-engine.js';
import { resolveSamplingParams } from '../dist/engine/sample/sampling-params.js';
import { openStateStore } from '../dist/index.js';

/** What continuing a text takes on a machine that has computed none of it: from a shared store, and without one. */
const { values } = parseArgs({
  options: {
    shape: { type: 'string', default: 'mamba2-130m' },
    dtype: { type: 'string', default: 'int8' },
    tokens: { type: 'string', default: '512' },
    store: { type: 'string' },
    threads: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '7' },
  },
});
const [tokens, rounds, threads] = [Number(values.tokens), Number(values.rounds), Number(values.threads)];
const folder = values.store === undefined ? await mkdtemp(join(tmpdir(), 'mamba2-states-')) : undefined;
const location = values.store ?? `file://${folder}`;
const config = MODEL_SHAPES[values.shape as ModelShape];
const dtype = values.dtype as 'int8';

async function machine(shared: boolean) {
  const options = { name: values.shape, device: 'cpu', dtype, slots: 2, checkFinite: false } as const;
  const executor = await loadSynthetic({ config, seed: 1 }, threads, options);
  const store = shared ? await openStateStore(location) : undefined;
  const engine = new AsyncLLMEngine({
    executor,
    tokenizer: undefined,
    eosTokenIds: [],
    vocabSize: Number(config.vocab_size),
    maxNumSeqs: 2,
    maxNumBatchedTokens: 512,
    // Any answer may ask for all of it: what was computed a round before must not help.
    sharedStates: store && { store, fetch: 'always', model: async () => JSON.stringify(values) },
  });
  const params = resolveSamplingParams({ maxTokens: 1, temperature: 0 }, {});
  /** Milliseconds to the next token. */
  const next = async (promptTokenIds: readonly number[]) => {
    const begin = performance.now();
    for await (const _ of engine.addRequest({ promptTokenIds, params }));
    return performance.now() - begin;
  };
  const close = async () => {
    await engine.dispose();
    await store?.close();
  };
  return { engine, next, close };
}

try {
  const [alone, first, second] = [await machine(false), await machine(true), await machine(true)];
  const times: { computed: number[]; fetched: number[] } = { computed: [], fetched: [] };
  for (let round = 0; round < rounds + 1; round++) {
    const text = Array.from({ length: tokens }, (_, i) => (i * 31 + round * 7919) % 50_000);
    await first.next(text);
    while ((first.engine.stats().stateStore?.pendingPuts ?? 0) > 0) await new Promise((done) => setTimeout(done, 5));
    // A token more, as the next turn would have many.
    const computed = await alone.next([...text, 1]);
    const fetched = await second.next([...text, 1]);
    // The first round compiles, and connects.
    if (round > 0) {
      times.computed.push(computed);
      times.fetched.push(fetched);
    }
  }
  const stats = second.engine.stats().stateStore;
  const bytes = (stats?.bytesRead ?? 0) / Math.max(stats?.hits ?? 0, 1);
  const median = (all: readonly number[]) => all.toSorted((a, b) => a - b)[all.length >> 1].toFixed(0);
  const line = (all: readonly number[]) => `${median(all)} ms (least ${Math.min(...all).toFixed(0)}, of ${all.length})`;
  const found = `${(bytes / 1e6).toFixed(1)} MB, ${stats?.hits} of ${rounds + 1} found`;
  process.stdout.write(
    [
      `${values.shape}, ${values.dtype}, ${threads} threads: the next token after ${tokens} and one more`,
      `  computed         ${line(times.computed)}`,
      `  from the store   ${line(times.fetched)}; ${found}\n`,
    ].join('\n'),
  );
  await Promise.all([alone, first, second].map((each) => each.close()));
} finally {
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
}

import { parseArgs } from 'node:util';
import { loadSynthetic } from '../src/bench/load-synthetic.ts';
import { median } from '../src/bench/spread.ts';
import { LLMEngine } from '../src/engine/llm-engine.ts';
import type { ChosenDevice } from '../src/engine/ranks/devices.ts';
import type { Executor, GuessBatch } from '../src/engine/run/executor.ts';
import { resolveSamplingParams } from '../src/engine/sample/sampling-params.ts';
import { parseWeightDType } from '../src/tensor/dtype.ts';
import { timedAnswer } from './timed-answer.ts';

/**
 * What guesses of layers for multi-token prediction cost, and tokens per second of one answer with them where all are right. The
 * model has random weights, whose layers guess nothing: they guess all the same, and the answer's own tokens, which a run without
 * guesses has told, take the place of what they say.
 */
const { values } = parseArgs({
  options: {
    device: { type: 'string', default: 'cpu' },
    dtype: { type: 'string', default: 'int8' },
    threads: { type: 'string', default: '1' },
    tokens: { type: 'string', default: '64' },
    rounds: { type: 'string', default: '5' },
    hidden: { type: 'string', default: '1024' },
    pattern: { type: 'string', default: 'MEMEM*EMEMEMEM*EMEMEME' },
    experts: { type: 'string', default: '32' },
    vocab: { type: 'string', default: '32000' },
    draft: { type: 'string', default: '1,2,3,5' },
  },
});
const [tokens, rounds, hidden, experts, vocabSize] = [
  values.tokens,
  values.rounds,
  values.hidden,
  values.experts,
  values.vocab,
].map(Number);
const counts = values.draft.split(',').map(Number);
const dtype = parseWeightDType(values.dtype);

/** Nemotron 3 Nano's proportions. */
const config = {
  architectures: ['NemotronHForCausalLM'],
  model_type: 'nemotron_h',
  vocab_size: vocabSize,
  hidden_size: hidden,
  hybrid_override_pattern: values.pattern,
  num_attention_heads: hidden / 64,
  num_key_value_heads: 2,
  head_dim: 128,
  mamba_num_heads: 8 * Math.round(hidden / 256),
  mamba_head_dim: 64,
  ssm_state_size: 128,
  n_groups: 8,
  conv_kernel: 4,
  mlp_hidden_act: 'relu2',
  n_routed_experts: experts,
  num_experts_per_tok: 6,
  n_group: 1,
  topk_group: 1,
  moe_intermediate_size: Math.round((0.69 * hidden) / 64) * 64,
  moe_shared_expert_intermediate_size: Math.round((1.38 * hidden) / 64) * 64,
  norm_topk_prob: true,
  routed_scaling_factor: 2.5,
  num_nextn_predict_layers: 1,
  mtp_hybrid_override_pattern: '*E',
};
const prompt = Array.from({ length: 40 }, (_, i) => (37 * i) % vocabSize);
const most = Math.max(...counts);

const load = (mtp: boolean) =>
  loadSynthetic({ config, seed: 1 }, Number(values.threads), {
    name: 'mtp',
    device: values.device as ChosenDevice,
    dtype,
    slots: 2,
    maxModelLen: 512,
    checkFinite: false,
    mtp,
    numSpeculativeTokens: mtp ? most : 0,
  });

process.stdout.write(`${values.device}, ${values.dtype}, threads: ${values.threads}, ${values.pattern}, ${hidden}\n`);
const plain = await load(false);
const answer = (await run(plain, 0)).tokenIds;
const executor = await load(true);
const blocks = Array.from({ length: 8 }, (_, i) => i);
const part = { slot: 0, blocks, numComputedTokens: 0, tokenIds: prompt };
await executor.execute({ sequences: [part], logits: 'last' });
const one = { slot: 0, blocks, numComputedTokens: prompt.length, tokenIds: [5] };
const step = await timeOf(() => executor.execute({ sequences: [one], logits: 'last' }));
process.stdout.write(`a step of one token: ${step}\n`);
const bare = await timeOf(() => plain.execute({ sequences: [one], logits: 'last' }));
process.stdout.write(`the same without these layers: ${bare}\n`);
for (const count of counts) {
  const text = { slot: 0, blocks, numComputedTokens: prompt.length, tokenId: 5 };
  const guess = await timeOf(() => executor.guess?.({ commands: [], sequences: [text], count }));
  const tokenIds = Array.from({ length: count + 1 }, (_, i) => i + 5);
  const tentative = { ...one, tokenIds, isTentative: true, logits: 'all' } as const;
  const check = await timeOf(() => executor.execute({ sequences: [tentative], logits: 'last' }));
  process.stdout.write(`a guess of ${count}: ${guess}; a step that checks it: ${check}\n`);
}
for (const count of [0, ...counts]) {
  const rates: number[] = [];
  const works: number[] = [];
  let perStep = 0;
  for (let round = 0; round <= rounds; round++) {
    const found = await run(count === 0 ? plain : executor, count);
    if (found.tokenIds.join() !== answer.join()) throw new Error('Guesses have changed an answer.');
    if (round === 0) continue;
    rates.push(found.rate);
    works.push(found.work);
    perStep = found.perStep;
  }
  const numbers = `${median(rates).toFixed(1)} tokens/s, ${median(works).toFixed(2)} ms of processors each`;
  process.stdout.write(`guesses of ${count}: ${numbers}, ${perStep.toFixed(2)} tokens a step\n`);
}
await plain.dispose();
await executor.dispose();

/** The median time of something, and of processors, in milliseconds. */
async function timeOf(work: () => Promise<unknown> | undefined): Promise<string> {
  const times: number[] = [];
  const processors: number[] = [];
  for (let i = 0; i < 4 + 4 * rounds; i++) {
    const [begin, used] = [performance.now(), process.cpuUsage()];
    await work();
    const { user, system } = process.cpuUsage(used);
    if (i < 4) continue;
    times.push(performance.now() - begin);
    processors.push((user + system) / 1000);
  }
  return `${median(times).toFixed(2)} ms (${median(processors).toFixed(2)} ms of processors)`;
}

/** One greedy answer. */
async function run(executor: Executor, numSpeculativeTokens: number) {
  const right: Pick<Executor, 'guess'> = {
    guess: async (batch: GuessBatch) => {
      await executor.guess?.(batch);
      const [{ numComputedTokens }] = batch.sequences;
      const begin = numComputedTokens + 1 - prompt.length;
      return Int32Array.from({ length: batch.count }, (_, i) => answer[begin + i] ?? 0);
    },
  };
  const own: Executor = new Proxy(executor, {
    get: (target, name) => {
      if (name === 'guess') return right.guess;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  const engine = new LLMEngine({
    executor: own,
    tokenizer: undefined,
    eosTokenIds: [],
    vocabSize,
    maxNumSeqs: 2,
    maxNumBatchedTokens: 512,
    enablePrefixCaching: false,
    speculativeConfig: numSpeculativeTokens > 0 ? { method: 'mtp', numSpeculativeTokens } : undefined,
  });
  const params = resolveSamplingParams({ temperature: 0, maxTokens: tokens }, {});
  engine.addRequest({ promptTokenIds: prompt, params });
  return timedAnswer(engine);
}

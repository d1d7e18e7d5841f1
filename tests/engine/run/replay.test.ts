import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { LLM } from '../../../src/engine/llm.ts';
import { loadModel } from '../../../src/engine/load/load-model.ts';
import type { LoadOptions } from '../../../src/engine/load/load-options.ts';
import type { Batch, Executor, ScheduledTokens, StateCommand } from '../../../src/engine/run/executor.ts';
import { ReplayedSlots } from '../../../src/engine/run/replayed-slots.ts';
import { ArgumentError } from '../../../src/errors.ts';
import { few, runs } from '../../runs.ts';
import { chunksOf } from '../chunks-of.ts';
import { GOLDEN } from '../golden-folder.ts';
import { hybridFolder } from '../hybrid-folders.ts';

const SLOTS = 4;
const KEPT = 3;

/** What happens in one step, by numbers that a state of the test gives meaning. */
const step = fc.record({
  command: fc.constantFrom('none', 'none', 'save', 'load', 'copy'),
  from: fc.nat(SLOTS - 1),
  to: fc.nat(SLOTS - 1),
  kinds: fc.array(fc.constantFrom('decode', 'decode', 'decode', 'rest', 'prompt', 'new', 'tentative', 'nothing'), {
    minLength: SLOTS,
    maxLength: SLOTS,
  }),
  seed: fc.nat(250),
});

/** Batches that a sequence of such steps makes. */
function batchesOf(
  steps: readonly (typeof step extends fc.Arbitrary<infer T> ? T : never)[],
  canGuess: boolean,
): Batch[] {
  const lengths = new Array<number>(SLOTS).fill(0);
  const pending = new Array<number>(SLOTS).fill(0);
  const snapshots: number[] = [];
  const tokens = (count: number, seed: number) => Array.from({ length: count }, (_, i) => 1 + ((seed + 7 * i) % 120));
  return steps.map(({ command, from, to, kinds, seed }): Batch => {
    const commands: StateCommand[] = [];
    // As the engine does, before anything else reads a slot.
    const settle = (slot: number) => {
      if (pending[slot] === 0) return;
      const numTokens = 1 + (seed % pending[slot]);
      commands.push({ type: 'advance', slot, numTokens });
      lengths[slot] += numTokens;
      pending[slot] = 0;
    };
    if (command === 'save' && lengths[from] > 0) {
      settle(from);
      commands.push({ type: 'save', slot: from, snapshot: snapshots.length });
      snapshots.push(lengths[from]);
    } else if (command === 'load' && snapshots.length > 0) {
      const snapshot = seed % snapshots.length;
      commands.push({ type: 'load', snapshot, slot: to });
      [lengths[to], pending[to]] = [snapshots[snapshot], 0];
    } else if (command === 'copy' && from !== to && lengths[from] > 0) {
      settle(from);
      commands.push({ type: 'copy', from, to });
      [lengths[to], pending[to]] = [lengths[from], 0];
    }
    const sequences = kinds.flatMap((kind, slot): ScheduledTokens[] => {
      if (kind === 'rest' || (kind === 'nothing' && lengths[slot] === 0)) return [];
      if (kind === 'new' || lengths[slot] === 0) [lengths[slot], pending[slot]] = [0, 0];
      else settle(slot);
      const isTentative = kind === 'tentative' && canGuess && lengths[slot] > 0;
      const counts = { decode: 1, rest: 0, nothing: 0, prompt: 2 + (seed % 5), new: 1 + (seed % 9), tentative: KEPT };
      const tokenIds = tokens(counts[kind], seed + slot);
      const sequence = { slot, numComputedTokens: lengths[slot], tokenIds, isTentative };
      if (isTentative) pending[slot] = tokenIds.length;
      else lengths[slot] += tokenIds.length;
      return [sequence];
    });
    return { commands, sequences, logits: 'all' };
  });
}

async function outputsOf(executor: Executor, batches: readonly Batch[]): Promise<Float32Array[]> {
  const outputs: Float32Array[] = [];
  const reset = { type: 'reset' } as const;
  for (const [i, { commands = [], ...batch }] of batches.entries()) {
    const { logits } = await executor.execute({ ...batch, commands: i === 0 ? [reset, ...commands] : commands });
    outputs.push(logits.slice());
    for (const command of commands) {
      if (command.type !== 'save') continue;
      outputs.push(await executor.exportState({ id: command.snapshot, length: 0, blocks: [] }));
    }
  }
  return outputs;
}

const common = { device: 'reference', dtype: 'float32', maxNumSeqs: SLOTS } as const;
const speculativeConfig = { method: 'ngram', numSpeculativeTokens: KEPT - 1 } as const;

const FORMS: readonly LoadOptions[] = [
  { speculativeConfig },
  { stateDtype: 'float16', speculativeConfig },
  { stateDtype: 'bfloat16', stateRounding: 'stochastic' },
];

describe('states that lack tokens, which steps compute again', () => {
  test.each(FORMS)('give the bits of states that are written in each step: %o', async (form) => {
    const load = async (replayssmBufferLen: number) =>
      (await loadModel(GOLDEN, { ...common, ...form, replayssmBufferLen })).context.executor;
    const [plain, replaying] = [await load(1), await load(3)];
    try {
      const property = fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 24 }), async (steps) => {
        const batches = batchesOf(steps, form.speculativeConfig !== undefined);
        expect(await outputsOf(replaying, batches)).toEqual(await outputsOf(plain, batches));
      });
      await fc.assert(property, { seed: 20261130, numRuns: runs(25) });
    } finally {
      await plain.dispose();
      await replaying.dispose();
    }
  });

  test.each(
    few(
      [
        [GOLDEN, {}],
        [hybridFolder('bamba'), { tensorParallelSize: 2 }],
        [hybridFolder('zamba2'), { pipelineParallelSize: 2 }],
        [hybridFolder('variants/plamo2'), { stateDtype: 'float16', stateRounding: 'stochastic' }],
      ] as const,
      3,
    ),
  )('give the same answers, in batches, forks and sessions: %s %o', async (folder, form) => {
    const prompts = [[3, 5, 8, 13, 21, 34], [3, 5, 8, 13, 9], [7]];
    const answers = async (replayssmBufferLen: number) => {
      const limits = { maxNumSeqs: 2, snapshotInterval: 4, replayssmBufferLen };
      await using llm = await LLM.load(folder, { ...common, ...form, ...limits });
      const options = { temperature: 1, maxTokens: 7, ignoreEos: true, logprobs: 2 };
      const batch = prompts.map((prompt, seed) => chunksOf(llm, prompt, { ...options, seed, n: 1 + (seed % 2) }));
      const chunks = await Promise.all(batch);
      const session = llm.createSession();
      await session.append(prompts[0]);
      const turns: unknown[] = [];
      for await (const chunk of session.generate(undefined, { ...options, seed: 1 })) turns.push(chunk);
      const fork = session.fork();
      for (const one of [fork, session]) {
        await one.append([11, 12]);
        for await (const chunk of one.generate(undefined, { ...options, seed: 2 })) turns.push(chunk);
      }
      const sorted = chunks.map((own) => own.toSorted((a, b) => a.index - b.index));
      return { chunks: sorted, turns, file: await session.save() };
    };
    expect(await answers(3)).toEqual(await answers(1));
  });

  test('are counted only in steps in which enough sequences decode', () => {
    const slots = new ReplayedSlots(3, 2, 2);
    const decode = (slot: number, numComputedTokens: number) => ({ slot, numComputedTokens, numTokens: 1 });
    expect(slots.count([decode(0, 5), decode(1, 9)])).toEqual(Int32Array.of(0, 0));
    expect(slots.count([decode(0, 6), decode(1, 10)])).toEqual(Int32Array.of(1, 1));
    expect(slots.before([], [decode(0, 7)])).toEqual([0]);
    const taken = { slots: Int32Array.of(0), counts: Int32Array.of(2), positions: Int32Array.of(5) };
    expect(slots.take([0])).toEqual(taken);
    expect(slots.count([decode(0, 7)])).toBeUndefined();
    expect(slots.before([], [decode(0, 8), decode(1, 11)])).toEqual([]);
    expect(slots.count([decode(0, 8), decode(1, 11)])).toEqual(Int32Array.of(0, 2));
  });

  test('are counted by what is saved of an answer, not by where the next one in its slot begins', () => {
    const slots = new ReplayedSlots(1, 3, 1);
    for (const numComputedTokens of [5, 6, 7]) slots.count([{ slot: 0, numComputedTokens, numTokens: 1 }]);
    const load = { type: 'load', snapshot: 0, slot: 0 } as const;
    const next = { slot: 0, numComputedTokens: 7, numTokens: 4 };
    const save = (length: number) => ({ type: 'save', slot: 0, snapshot: 1, length }) as const;
    expect(slots.before([save(8), load], [next])).toEqual([0]);
    expect(slots.take([0]).counts).toEqual(Int32Array.of(3));
    // The device left the last token out.
    for (const numComputedTokens of [5, 6, 7]) slots.count([{ slot: 0, numComputedTokens, numTokens: 1 }]);
    expect(slots.before([save(7), load], [next])).toEqual([0]);
    expect(slots.take([0])).toMatchObject({ counts: Int32Array.of(2), positions: Int32Array.of(5) });
  });

  test('are not for the processor, nor for more tokens than kernels take', async () => {
    const load = (options: LoadOptions) => LLM.load(GOLDEN, { ...common, ...options });
    await expect(load({ device: 'cpu', replayssmBufferLen: 2 })).rejects.toThrow(ArgumentError);
    await expect(load({ device: 'cpu', replayssmBufferLen: 33 })).rejects.toThrow(/from 1 to 32/);
    await expect(load({ device: 'cpu', replayssmBufferLen: 0 })).rejects.toThrow(/from 1 to 32/);
    await using llm = await load({ device: 'cpu', replayssmBufferLen: 1 });
    expect(llm.device.device).toBe('cpu');
    // What `auto` takes may be any device.
    const onWarning = vi.fn();
    await using auto = await load({ device: 'auto', replayssmBufferLen: 2, onWarning });
    expect(auto.device.device).toBe('cpu');
    expect(onWarning).toHaveBeenCalledExactlyOnceWith(expect.stringMatching(/replayssmBufferLen is 2.* on 'cpu'/));
  });
});

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { runs } from '../runs.ts';
import { anyMixerCase, anySchedule } from './mixer-arbitraries.ts';
import { type MixerCase, mixerCase } from './mixer-case.ts';
import { alone, MixerRig, type RigSequence, seededTokens } from './mixer-rig.ts';
import { bits, concatenated, SeededRandom } from './seeded.ts';

const anyQuantisedCase = fc
  .tuple(anyMixerCase, fc.constantFrom(undefined, 'int8' as const, 'int4' as const))
  .map(([config, quant]): MixerCase => ({ ...config, quant }));

/** Sequences of some tokens in slots of their own, none with a past. */
function prompts(config: MixerCase, lengths: readonly number[], firstSlot = 0): RigSequence[] {
  return lengths.map((length, b) => ({
    slot: firstSlot + b,
    numComputedTokens: 0,
    tokens: seededTokens(config, length, 100 + b),
  }));
}

async function expectSlotToEqual(rig: MixerRig, slot: number, state: { conv: Float32Array; ssm: Float32Array }) {
  const found = await rig.slot(slot);
  expect(bits(found.conv)).toEqual(bits(state.conv));
  expect(bits(found.ssm)).toEqual(bits(state.ssm));
}

describe('MambaMixer2 on batches, bit for bit', () => {
  test('any schedule of any sequences gives each what it gets alone, and leaves other slots as they were', async () => {
    await fc.assert(
      fc.asyncProperty(anyQuantisedCase, anySchedule, async (config, { prompts: scheduled, orders, padded, seed }) => {
        const random = new SeededRandom(seed);
        const slots = scheduled.length + 2;
        const rig = new MixerRig(config, slots, undefined, Number.NaN);
        const untouched = [await rig.slot(0), await rig.slot(slots - 1)];
        const totals = scheduled.map(({ pieces }) => pieces.reduce((sum, piece) => sum + piece, 0));
        const whole = totals.map((total, b) => seededTokens(config, total, seed + b));
        const outputs: Float32Array[][] = scheduled.map(() => []);
        const computed = scheduled.map(() => 0);
        for (const [round, order] of orders.entries()) {
          const present = scheduled.map((_, b) => b).sort(() => random.next() - 0.5);
          const sequences: RigSequence[] = present.map((b) => {
            const end = computed[b] + scheduled[b].pieces[round];
            const tokens = whole[b].subarray(computed[b] * config.hiddenSize, end * config.hiddenSize);
            return { slot: 1 + b, numComputedTokens: computed[b], tokens };
          });
          const padding = [
            { slot: -1, numComputedTokens: 0, tokens: seededTokens(config, round, round) },
            { slot: -1, numComputedTokens: 4, tokens: seededTokens(config, 1, round) },
          ];
          const results = await rig.step({ sequences: padded ? [...padding, ...sequences] : sequences, order });
          present.forEach((b, i) => {
            outputs[b].push(results[padded ? i + padding.length : i]);
            computed[b] += scheduled[b].pieces[round];
          });
        }
        for (const b of scheduled.keys()) {
          if (totals[b] === 0) continue;
          const expected = await alone(config, whole[b]);
          expect(bits(concatenated(outputs[b]))).toEqual(bits(expected.output));
          await expectSlotToEqual(rig, 1 + b, expected.state);
        }
        await expectSlotToEqual(rig, 0, untouched[0]);
        await expectSlotToEqual(rig, slots - 1, untouched[1]);
      }),
      { seed: 2, numRuns: runs(200) },
    );
  });

  test('decode-first and prefill-first give the same outputs and states', async () => {
    const config = mixerCase({ useMup: true });
    const run = async (order: 'decode-first' | 'prefill-first') => {
      const rig = new MixerRig(config, 5);
      await rig.step({ sequences: prompts(config, [3, 1, 6]), order });
      const one = (seed: number) => seededTokens(config, 1, seed);
      const sequences = [
        { slot: 3, numComputedTokens: 0, tokens: seededTokens(config, 4, 1) },
        { slot: 1, numComputedTokens: 1, tokens: one(2) },
        { slot: 0, numComputedTokens: 3, tokens: seededTokens(config, 2, 3) },
        { slot: 2, numComputedTokens: 6, tokens: one(4) },
        { slot: 4, numComputedTokens: 0, tokens: one(5) },
      ];
      const outputs = await rig.step({ sequences, order });
      const states = await Promise.all([0, 1, 2, 3, 4].map((slot) => rig.slot(slot)));
      return [...outputs, ...states.flatMap(({ conv, ssm }) => [conv, ssm])].map(bits);
    };
    expect(await run('prefill-first')).toEqual(await run('decode-first'));
  });

  test.each([
    ['prefill only', [5, 2, 1], [0, 0, 0]],
    ['decode only', [1, 1, 1], [4, 2, 9]],
    ['mixed', [1, 5, 1], [3, 2, 0]],
    ['with empty sequences', [0, 5, 0, 1, 0], [0, 0, 3, 2, 7]],
    ['nothing but empty sequences', [0, 0], [0, 4]],
    ['no sequences', [], []],
  ])('%s', async (_, lengths, past) => {
    const config = mixerCase();
    const rig = new MixerRig(config, 8);
    const whole = lengths.map((length, b) => seededTokens(config, past[b] + length, b));
    const cut = past.map((count) => count * config.hiddenSize);
    await rig.step({
      sequences: whole.map((tokens, b) => ({ slot: b, numComputedTokens: 0, tokens: tokens.subarray(0, cut[b]) })),
    });
    const outputs = await rig.step({
      sequences: whole.map((tokens, b) => ({ slot: b, numComputedTokens: past[b], tokens: tokens.subarray(cut[b]) })),
    });
    for (const [b, tokens] of whole.entries()) {
      if (tokens.length === 0) continue;
      const expected = await alone(config, tokens);
      expect(bits(outputs[b])).toEqual(bits(expected.output.slice(cut[b])));
      await expectSlotToEqual(rig, b, expected.state);
    }
  });

  test('a sequence shorter than the convolution leaves zeros before its tokens', async () => {
    const config = mixerCase({ convKernel: 5 });
    for (const length of [1, 2, 3]) {
      const rig = new MixerRig(config, 1, undefined, 7);
      await rig.step({ sequences: prompts(config, [length]) });
      const { conv } = await rig.slot(0);
      for (let c = 0; c < conv.length; c += 4) {
        expect([...conv.subarray(c, c + 4 - length)]).toEqual(new Array(4 - length).fill(0));
        expect(conv[c + 3]).not.toBe(0);
      }
    }
  });

  test.each([0, 1, 5])('a padded prefill of %i tokens changes nothing for others and no state', async (length) => {
    const config = mixerCase();
    const plain = new MixerRig(config, 3, undefined, 0.5);
    const padded = new MixerRig(config, 3, undefined, 0.5);
    const padding = { slot: -1, numComputedTokens: 0, tokens: seededTokens(config, length, 9) };
    const [a, b] = prompts(config, [4, 2]);
    const expected = await plain.step({ sequences: [a, b] });
    const [first, , second] = await padded.step({ sequences: [a, padding, b] });
    expect([first, second].map(bits)).toEqual(expected.map(bits));
    for (const slot of [0, 1, 2]) await expectSlotToEqual(padded, slot, await plain.slot(slot));
  });

  test('padded decodes change nothing for others and no state', async () => {
    const config = mixerCase();
    const rigs = [new MixerRig(config, 3, undefined, 0.5), new MixerRig(config, 3, undefined, 0.5)];
    const padding = { slot: -1, numComputedTokens: 1, tokens: seededTokens(config, 1, 9) };
    const decodes = [0, 2].map((slot) => ({ slot, numComputedTokens: 5, tokens: seededTokens(config, 1, slot) }));
    const expected = await rigs[0].step({ sequences: decodes });
    const [, first, , second] = await rigs[1].step({ sequences: [padding, decodes[0], padding, decodes[1]] });
    expect([first, second].map(bits)).toEqual(expected.map(bits));
    for (const slot of [0, 1, 2]) await expectSlotToEqual(rigs[1], slot, await rigs[0].slot(slot));
  });

  test('every order of the sequences in a batch gives each the same', async () => {
    const config = mixerCase({ quant: 'int4', hiddenSize: 40 });
    const sequences = prompts(config, [3, 0, 1, 6]);
    const expected = await new MixerRig(config, 4).step({ sequences });
    const permutations = (items: readonly number[]): number[][] =>
      items.length === 0
        ? [[]]
        : items.flatMap((item) => permutations(items.filter((i) => i !== item)).map((rest) => [item, ...rest]));
    for (const permutation of permutations([0, 1, 2, 3])) {
      const outputs = await new MixerRig(config, 4).step({ sequences: permutation.map((b) => sequences[b]) });
      expect(outputs.map(bits)).toEqual(permutation.map((b) => bits(expected[b])));
    }
  });
});

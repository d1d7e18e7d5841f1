import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { runs } from '../runs.ts';
import { anyMixerCase } from './mixer-arbitraries.ts';
import { mixerCase, mupVector } from './mixer-case.ts';
import { mixerOracle } from './mixer-oracle.ts';
import { alone, MixerRig, seededTokens } from './mixer-rig.ts';
import { largestError } from './seeded.ts';

/** Rounding to float32 between operations; a norm over one or two columns near zero magnifies it. */
const TOLERANCE = 5e-5;

describe('MambaMixer2 against the float64 oracle', () => {
  test('any configuration, any length: outputs and states', async () => {
    await fc.assert(
      fc.asyncProperty(anyMixerCase, fc.integer({ min: 0, max: 14 }), async (config, length) => {
        const tokens = seededTokens(config, length, config.seed);
        const { weights } = new MixerRig(config, 0);
        const expected = mixerOracle(config, weights, tokens, config.useMup ? mupVector(config) : undefined);
        const { output, state } = await alone(config, tokens);
        expect(largestError(output, expected.output)).toBeLessThan(TOLERANCE);
        expect(largestError(state.conv, expected.convState)).toBeLessThan(TOLERANCE);
        expect(largestError(state.ssm, expected.ssmState)).toBeLessThan(TOLERANCE);
      }),
      { seed: 1, numRuns: runs(300) },
    );
  });

  test('a mixed batch of sequences with past, alone each from scratch', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const config = mixerCase({ seed, useMup: seed % 2 === 0, convKernel: 1 + (seed % 5) });
      const rig = new MixerRig(config, 4, undefined, Number.NaN);
      const lengths = [9, 7, 4, 1];
      const before = [8, 3, 0, 0];
      const prompts = lengths.map((length, b) => seededTokens(config, length, 10 * seed + b));
      const part = (b: number, begin: number, end: number) =>
        prompts[b].subarray(begin * config.hiddenSize, end * config.hiddenSize);
      await rig.step({
        sequences: [0, 1].map((b) => ({ slot: b, numComputedTokens: 0, tokens: part(b, 0, before[b]) })),
      });
      const sequences = lengths.map((length, b) => ({
        slot: b,
        numComputedTokens: before[b],
        tokens: part(b, before[b], length),
      }));
      const outputs = await rig.step({ sequences });
      for (const [b, length] of lengths.entries()) {
        const expected = mixerOracle(config, rig.weights, prompts[b], config.useMup ? mupVector(config) : undefined);
        const tail = expected.output.subarray(before[b] * config.hiddenSize, length * config.hiddenSize);
        expect(largestError(outputs[b], tail)).toBeLessThan(TOLERANCE);
        const { conv, ssm } = await rig.slot(b);
        expect(largestError(conv, expected.convState)).toBeLessThan(TOLERANCE);
        expect(largestError(ssm, expected.ssmState)).toBeLessThan(TOLERANCE);
      }
    }
  });

  test('a state size beyond 128, as Falcon-H1 has', async () => {
    const config = mixerCase({ stateSize: 256, headDim: 2, numHeads: 2, nGroups: 1 });
    const tokens = seededTokens(config, 6, 3);
    const { output, state } = await alone(config, tokens);
    const expected = mixerOracle(config, new MixerRig(config, 0).weights, tokens);
    expect(largestError(output, expected.output)).toBeLessThan(TOLERANCE);
    expect(largestError(state.ssm, expected.ssmState)).toBeLessThan(TOLERANCE);
  });

  test('the time-step limit holds in prefill and decode', async () => {
    const config = mixerCase({ timeStepLimit: [0.3, 0.300001] });
    const free = mixerCase();
    const tokens = seededTokens(config, 5, 3);
    const { output } = await alone(config, tokens);
    expect(largestError(output, (await alone(free, tokens)).output)).toBeGreaterThan(1e-3);
    const rig = new MixerRig(config, 1);
    const { hiddenSize } = config;
    for (let t = 0; t < 5; t++) {
      const token = tokens.subarray(t * hiddenSize, (t + 1) * hiddenSize);
      const [out] = await rig.step({ sequences: [{ slot: 0, numComputedTokens: t, tokens: token }] });
      expect(out).toEqual(output.slice(t * hiddenSize, (t + 1) * hiddenSize));
    }
  });

  test('quantised weights stay near the exact ones, and int4 loses more than int8', async () => {
    const exact = mixerCase({ hiddenSize: 64, headDim: 16 });
    const tokens = seededTokens(exact, 8, 3);
    const { output } = await alone(exact, tokens);
    const error = async (quant: 'int8' | 'int4') =>
      largestError((await alone({ ...exact, quant }, tokens)).output, output);
    expect(await error('int8')).toBeLessThan(0.05);
    expect(await error('int8')).toBeGreaterThan(0);
    expect(await error('int4')).toBeGreaterThan(await error('int8'));
    expect(await error('int4')).toBeLessThan(0.6);
  });
});

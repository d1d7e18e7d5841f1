import { describe, expect, test } from 'vitest';
import { type MixerCase, mixerCase } from './mixer-case.ts';
import { alone, MixerRig, seededTokens } from './mixer-rig.ts';
import { bits, concatenated } from './seeded.ts';

const LENGTH = 11;

/** A prompt in pieces on a rig whose slots hold garbage. */
async function inPieces(
  config: MixerCase,
  tokens: Float32Array,
  pieces: readonly number[],
  rig = new MixerRig(config, 2, undefined, Number.NaN),
) {
  const outputs: Float32Array[] = [];
  let begin = 0;
  for (const piece of pieces) {
    const part = tokens.subarray(begin * config.hiddenSize, (begin + piece) * config.hiddenSize);
    outputs.push(...(await rig.step({ sequences: [{ slot: 1, numComputedTokens: begin, tokens: part }] })));
    begin += piece;
  }
  return { output: concatenated(outputs), state: await rig.slot(1) };
}

type Run = Awaited<ReturnType<typeof inPieces>>;

function expectSame(found: Run, expected: Run): void {
  expect(bits(found.output)).toEqual(bits(expected.output));
  expect(bits(found.state.conv)).toEqual(bits(expected.state.conv));
  expect(bits(found.state.ssm)).toEqual(bits(expected.state.ssm));
}

const CASES: readonly MixerCase[] = [
  ...[1, 2, 3, 4, 5].map((convKernel) => mixerCase({ convKernel })),
  mixerCase({ chunkSize: 1 }),
  mixerCase({ chunkSize: 256, nGroups: 1, useRmsNorm: false }),
  mixerCase({ activation: 'identity', useConvBias: false, useBias: false, nGroups: 4 }),
  mixerCase({ useMup: true, timeStepLimit: [0.01, 0.5] }),
  mixerCase({ quant: 'int8', hiddenSize: 33 }),
  mixerCase({ quant: 'int4', hiddenSize: 64, headDim: 16 }),
];

describe.each(CASES.map((config, i) => [i, config] as const))('MambaMixer2 on a split prompt, case %i', (_, config) => {
  const tokens = seededTokens(config, LENGTH, 5);

  test('split at every point, bit for bit', async () => {
    const whole = await alone(config, tokens);
    for (let at = 0; at <= LENGTH; at++) expectSame(await inPieces(config, tokens, [at, LENGTH - at]), whole);
  });

  test('split at every pair of points, bit for bit', async () => {
    const whole = await alone(config, tokens);
    for (let a = 0; a <= LENGTH; a += 2) {
      for (let b = a; b <= LENGTH; b++) expectSame(await inPieces(config, tokens, [a, b - a, LENGTH - b]), whole);
    }
  });

  test('token by token, bit for bit', async () => {
    expectSame(await inPieces(config, tokens, new Array(LENGTH).fill(1)), await alone(config, tokens));
  });
});

describe('MambaMixer2 and what a slot held before', () => {
  test.each([Number.NaN, Number.POSITIVE_INFINITY, -1e30, 3])(
    'a new one-token prompt does not read a slot full of %d',
    async (fill) => {
      for (const convKernel of [1, 2, 4]) {
        const config = mixerCase({ convKernel });
        const token = seededTokens(config, 1, 8);
        const fresh = await alone(config, token);
        const rig = new MixerRig(config, 2, undefined, fill);
        expectSame(await inPieces(config, token, [1], rig), fresh);
        expect(fresh.output.every(Number.isFinite)).toBe(true);
      }
    },
  );

  test('new one-token prompts in a batch with decodes are not taken for decodes', async () => {
    const config = mixerCase();
    const rig = new MixerRig(config, 3);
    const old = seededTokens(config, 9, 1);
    const cut = 8 * config.hiddenSize;
    await rig.step({
      sequences: [0, 1, 2].map((slot) => ({
        slot,
        numComputedTokens: 0,
        tokens: slot === 1 ? old : old.subarray(0, cut),
      })),
    });
    const token = seededTokens(config, 1, 2);
    const outputs = await rig.step({
      sequences: [
        { slot: 0, numComputedTokens: 8, tokens: old.subarray(cut) },
        { slot: 1, numComputedTokens: 0, tokens: token },
        { slot: 2, numComputedTokens: 8, tokens: old.subarray(cut) },
      ],
    });
    const fresh = await alone(config, token);
    const continued = await alone(config, old);
    expect(bits(outputs[1])).toEqual(bits(fresh.output));
    expect(bits(outputs[0])).toEqual(bits(continued.output.slice(cut)));
    expect(bits(outputs[2])).toEqual(bits(continued.output.slice(cut)));
    expect(await rig.slot(1)).toEqual(fresh.state);
  });

  test('a slot serves one sequence after another', async () => {
    const config = mixerCase({ useMup: true });
    const rig = new MixerRig(config, 2);
    for (let owner = 0; owner < 12; owner++) {
      const tokens = seededTokens(config, 1 + (owner % 6), owner);
      const pieces = owner % 2 === 0 ? [1 + (owner % 6)] : new Array(1 + (owner % 6)).fill(1);
      expectSame(await inPieces(config, tokens, pieces, rig), await alone(config, tokens));
    }
  });

  test('an empty continuation keeps the state, and so does an empty new prompt', async () => {
    const config = mixerCase();
    const rig = new MixerRig(config, 2);
    const tokens = seededTokens(config, 4, 1);
    await inPieces(config, tokens, [4], rig);
    const before = await rig.slot(1);
    for (const numComputedTokens of [4, 0]) {
      await rig.step({ sequences: [{ slot: 1, numComputedTokens, tokens: new Float32Array() }] });
      expect(await rig.slot(1)).toEqual(before);
    }
  });
});

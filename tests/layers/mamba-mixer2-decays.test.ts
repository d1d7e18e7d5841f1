import { expect, test } from 'vitest';
import { type BatchOrder, buildMamba2Metadata, reorderBatch } from '../../src/layers/mamba/mamba2-metadata.ts';
import { mixerCase } from './mixer-case.ts';
import { MixerRig, seededTokens } from './mixer-rig.ts';
import { bits, concatenated } from './seeded.ts';

const config = mixerCase({ useMup: true, timeStepLimit: [0.05, 0.6] });

/** Sequences of every kind: in the middle of an answer, of a prompt, new, empty and padding. */
const SEQUENCES = [
  { slot: 0, numComputedTokens: 3, numTokens: 1 },
  { slot: 1, numComputedTokens: 0, numTokens: 4 },
  { slot: -1, numComputedTokens: 0, numTokens: 2 },
  { slot: 2, numComputedTokens: 6, numTokens: 1 },
  { slot: 3, numComputedTokens: 2, numTokens: 3 },
  { slot: 4, numComputedTokens: 0, numTokens: 0 },
  { slot: 5, numComputedTokens: 0, numTokens: 1 },
].map((sequence, i) => ({ ...sequence, tokens: seededTokens(config, sequence.numTokens, i) }));

/** Log decays (heads) of each sequence, and the mixer's output. */
async function run(sequences: typeof SEQUENCES, order: BatchOrder) {
  const { backend, mixer, cache } = new MixerRig(config, 6, undefined, 0.25);
  const ordered = reorderBatch(sequences, order);
  const metadata = buildMamba2Metadata(backend, ordered, { order, chunkSize: mixer.chunkSize });
  const rows = concatenated(ordered.map(({ tokens }) => tokens));
  const hidden = backend.tensor(rows, [rows.length / config.hiddenSize, config.hiddenSize]);
  const logDecays = backend.empty([ordered.length, config.numHeads]);
  const output = await backend.read(mixer.forward(hidden, { ...cache, logDecays }, metadata));
  const all = await backend.read(logDecays);
  const { numHeads } = config;
  const decays = sequences.map((sequence) => {
    const at = ordered.indexOf(sequence) * numHeads;
    return bits(all.slice(at, at + numHeads));
  });
  return { decays, output };
}

test('log decays of every sequence are what it has alone, in either order of rows', async () => {
  const expected = [];
  for (const sequence of SEQUENCES) expected.push(...(await run([sequence], 'decode-first')).decays);
  expect((await run(SEQUENCES, 'decode-first')).decays).toEqual(expected);
  expect((await run(SEQUENCES, 'prefill-first')).decays).toEqual(expected);
  expect((await run([...SEQUENCES].reverse(), 'decode-first')).decays).toEqual([...expected].reverse());
});

import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { Checkpoint } from '../../../src/checkpoint/checkpoint.ts';
import { openFile } from '../../../src/checkpoint/files/file-source.ts';
import { SafetensorsFile } from '../../../src/checkpoint/safetensors/safetensors.ts';
import { singleProcess } from '../../../src/distributed/process-group.ts';
import { loadRank } from '../../../src/engine/ranks/load-rank.ts';
import type { StateCommand } from '../../../src/engine/run/executor.ts';
import type { ModelRunner } from '../../../src/engine/run/model-runner.ts';
import { makeFolder } from '../../checkpoint/folders.ts';
import { toGguf } from '../../models/to-gguf.ts';
import { hybridFolder } from '../hybrid-folders.ts';

const FOLDER = hybridFolder('variants/nemotron-mtp');

/** Tokens of each guess of the golden outputs. */
const COUNT = 3;

const BLOCKS = [5, 2];

/** The tokens that a forward pass in float64 guesses after each text of two tokens or more. */
async function goldenGuesses(): Promise<{ readonly ids: number[]; readonly guesses: number[][] }> {
  const { input_ids: ids } = JSON.parse(await readFile(`${FOLDER}/expected.json`, 'utf8'));
  const source = await openFile(`${FOLDER}/expected.safetensors`);
  try {
    const file = await SafetensorsFile.open(source);
    const logits = await file.readFloat32('guess_logits');
    const [texts, count, vocab] = file.tensors.get('guess_logits')?.shape ?? [];
    const likeliest = (row: number) => {
      const values = logits.subarray(row * vocab, (row + 1) * vocab);
      return values.indexOf(Math.max(...values));
    };
    const guesses = Array.from({ length: texts }, (_, text) =>
      Array.from({ length: count }, (_, i) => likeliest(text * count + i)),
    );
    return { ids, guesses };
  } finally {
    await source.close();
  }
}

async function load(device: 'cpu' | 'reference', source = FOLDER): Promise<ModelRunner> {
  const checkpoint = await Checkpoint.open(source);
  try {
    const options = { name: 'golden', device, dtype: 'float32', checkFinite: true, slots: 3 } as const;
    return await loadRank(checkpoint, singleProcess, { ...options, mtp: true, numSpeculativeTokens: 4 });
  } finally {
    await checkpoint.close();
  }
}

test('layers for multi-token prediction of a GGUF file guess what those of a folder do', async () => {
  const { ids, guesses } = await goldenGuesses();
  const folder = await makeFolder({ 'model.gguf': await toGguf(FOLDER) });
  const runner = await load('cpu', `${folder}/model.gguf`);
  const numComputedTokens = ids.length - 1;
  const text = { slot: 0, blocks: BLOCKS, numComputedTokens: 0, tokenIds: ids.slice(0, -1) };
  await runner.execute({ sequences: [text], logits: 'last' });
  const sequence = { slot: 0, blocks: BLOCKS, numComputedTokens, tokenId: ids[numComputedTokens] };
  const found = await runner.guess({ commands: [], sequences: [sequence], count: COUNT });
  expect([...found]).toEqual(guesses[ids.length - 2]);
  await runner.dispose();
});

test('an exported state has nothing of texts that had its blocks before', async () => {
  const runner = await load('reference');
  const exported = async (ids: readonly number[]) => {
    const text = { slot: 0, blocks: BLOCKS, numComputedTokens: 0, tokenIds: ids.slice(0, 3) };
    await runner.execute({ sequences: [text], logits: 'last' });
    await runner.execute({ commands: [{ type: 'save', slot: 0, snapshot: 1 }], sequences: [], logits: 'last' });
    const state = await runner.exportState({ id: 1, length: 3, blocks: BLOCKS });
    await runner.execute({ sequences: [{ ...text, numComputedTokens: 3, tokenIds: [ids[3]] }], logits: 'last' });
    return state;
  };
  const first = await exported([1, 2, 3, 4]);
  await exported([5, 6, 7, 8]);
  expect(await exported([1, 2, 3, 9])).toEqual(first);
  await runner.dispose();
});

describe.each(['reference', 'cpu'] as const)('layers for multi-token prediction on %s', (device) => {
  test('guess what a forward pass in float64 does, however the text came', async () => {
    const { ids, guesses } = await goldenGuesses();
    const runner = await load(device);
    const take = async (from: number, to: number, slot = 0) => {
      const part = { slot, blocks: BLOCKS, numComputedTokens: from, tokenIds: ids.slice(from, to) };
      await runner.execute({ sequences: [part], logits: 'last' });
    };
    const guess = async (length: number, commands: readonly StateCommand[] = [], slot = 0) => {
      const text = { slot, blocks: BLOCKS, numComputedTokens: length - 1, tokenId: ids[length - 1] };
      return [...(await runner.guess({ commands, sequences: [text], count: COUNT }))];
    };
    const expected = (length: number) => guesses[length - 2];
    // A prompt, token by token.
    for (let length = 2; length <= ids.length; length++) {
      await take(length - 2, length - 1);
      expect(await guess(length)).toEqual(expected(length));
    }
    // In one piece, and in several.
    for (const pieces of [[ids.length - 1], [1, 6, 1, 2], [9, 5]]) {
      let length = 0;
      for (const piece of pieces) {
        await take(length, length + piece);
        length += piece;
        expect(await guess(length + 1)).toEqual(expected(length + 1));
      }
    }
    // Tentative tokens, of which the last are wrong.
    await take(0, 4);
    const tokenIds = [...ids.slice(4, 7), 1, 2];
    const part = { slot: 0, blocks: BLOCKS, numComputedTokens: 4, tokenIds, isTentative: true, logits: 'all' } as const;
    await runner.execute({ sequences: [part], logits: 'last' });
    expect(await guess(8, [{ type: 'advance', slot: 0, numTokens: 3 }])).toEqual(expected(8));
    await take(7, 9);
    expect(await guess(10)).toEqual(expected(10));
    // A copy, and a snapshot.
    expect(await guess(10, [{ type: 'copy', from: 0, to: 2 }], 2)).toEqual(expected(10));
    await take(9, 12, 2);
    const commands: StateCommand[] = [
      { type: 'save', slot: 2, snapshot: 7 },
      { type: 'load', snapshot: 7, slot: 1 },
    ];
    expect(await guess(13, commands, 1)).toEqual(expected(13));
    await runner.dispose();
  });
});

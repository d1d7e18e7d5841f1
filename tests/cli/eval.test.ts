import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { beginOfText, bitsPerByte, perplexity, scoreText } from '../../src/cli/reports/text-score.ts';
import { LLM } from '../../src/engine/llm.ts';
import { makeFolder } from '../checkpoint/folders.ts';
import { runCli, runOnOneRank } from './run-cli.ts';
import { changedTiny, tinyFile } from './tiny-dts.ts';

const TEXT =
  "import type { Readable } from 'node:stream';\n// größer: 日本語 🙂\nexport declare function f(a: string): void;\n";

/** -log2 of a text's probability, straight from the logits. */
async function bitsOf(llm: LLM, ids: readonly number[]): Promise<number> {
  const { vocabSize } = llm.config;
  const logits = await llm.logits(ids);
  let bits = 0;
  for (let t = 1; t < ids.length; t++) {
    const row = logits.subarray((t - 1) * vocabSize, t * vocabSize);
    const sum = row.reduce((total, logit) => total + Math.exp(logit), 0);
    bits -= Math.log2(Math.exp(row[ids[t]]) / sum);
  }
  return bits;
}

describe('eval', () => {
  test('bits per byte and perplexity are those of the logits, per file and over all', async () => {
    const folder = await makeFolder({ 'a.txt': TEXT, 'b.txt': 'export {};\n' });
    const files = [join(folder, 'a.txt'), join(folder, 'b.txt')];
    const { code, stdout, stderr } = await runOnOneRank(['eval', '--json', files[0], '--file', files[1]]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { results } = JSON.parse(stdout);
    expect(results).toHaveLength(1);
    const [result] = results;
    expect(result).toMatchObject({ dtype: 'auto', loss: 0 });

    await using llm = await LLM.load('tiny-dts');
    const ids = llm.tokenize(TEXT);
    const otherIds = llm.tokenize('export {};\n');
    expect(ids[0]).toBe(0);
    const [bits, otherBits] = [await bitsOf(llm, ids), await bitsOf(llm, otherIds)];
    const [bytes, tokens] = [Buffer.byteLength(TEXT), ids.length - 1];
    expect(result.files[0]).toMatchObject({ file: files[0], tokens, bytes });
    expect(result.files[0].bitsPerByte).toBeCloseTo(bits / bytes, 5);
    expect(result.files[0].perplexity).toBeCloseTo(2 ** (bits / tokens), 3);
    expect(result.total).toMatchObject({ tokens: tokens + otherIds.length - 1, bytes: bytes + 11 });
    expect(result.total.bitsPerByte).toBeCloseTo((bits + otherBits) / (bytes + 11), 5);
    expect(result.tokensPerSecond).toBeGreaterThan(0);
  });

  test('the table, for the first tokens of each file', async () => {
    const folder = await makeFolder({ 'a.txt': TEXT, 'b.txt': TEXT });
    const paths = ['--file', join(folder, 'a.txt'), '--file', join(folder, 'b.txt')];
    const { code, stdout } = await runOnOneRank(['eval', ...paths, '-n', '5']);
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^file +tokens +bytes +bits per byte +perplexity\n\S+a\.txt +5 +\d+ +\d+\.\d{4} .*\n.*\ntotal +10 /,
    );
  });

  test('several dtypes in one table, and in one JSON object', async () => {
    const folder = await makeFolder({ 'a.txt': TEXT, 'b.txt': TEXT });
    const paths = ['--file', join(folder, 'a.txt'), '--file', join(folder, 'b.txt')];
    const dtypes = ['--dtype', 'float32,int8', '--dtype', 'int4'];
    const table = await runOnOneRank(['eval', ...paths, ...dtypes]);
    expect(table).toMatchObject({ code: 0, stderr: '' });
    expect(table.stdout).toMatch(
      /^dtype +tokens +bytes +bits per byte +perplexity +loss +tokens\/s\nfloat32 +\d+ .* \+0\.00% .*\nint8 .*%.*\nint4 .*%.*\n$/,
    );
    const { results } = JSON.parse((await runOnOneRank(['eval', ...paths, ...dtypes, '--json'])).stdout);
    expect(results.map(({ dtype }: { dtype: string }) => dtype)).toEqual(['float32', 'int8', 'int4']);
    for (const { total, files, loss } of results) {
      expect(files).toHaveLength(2);
      expect(total.bytes).toBe(2 * Buffer.byteLength(TEXT));
      expect(loss).toBeCloseTo(total.bits / results[0].total.bits - 1, 12);
    }
    expect(results[2].loss).not.toBe(0);
  });

  test('an unknown dtype among several is refused before any model is loaded', async () => {
    const folder = await makeFolder({ 'a.txt': TEXT });
    const { code, stderr } = await runCli(['eval', '--file', join(folder, 'a.txt'), '--dtype', 'float32,int3']);
    expect(code).toBe(2);
    expect(stderr).toMatch(/--dtype is 'int3'/);
  });

  test('files that can not be read, or are no text, before any model is loaded', async () => {
    const folder = await makeFolder({ 'bytes.bin': Uint8Array.of(0xff, 0xfe, 0) });
    const missing = await runCli(['eval', '-m', 'nope', '--file', join(folder, 'none.txt')]);
    expect(missing.code).toBe(1);
    expect(missing.stderr).toMatch(/^error: Can't read '.*none\.txt': there is no such file\.\n$/);
    const binary = await runCli(['eval', '--file', join(folder, 'bytes.bin')]);
    expect(binary.code).toBe(1);
    expect(binary.stderr).toMatch(/bytes\.bin' is not UTF-8/);
  });
});

describe('scoring a text', () => {
  test('a cut lies between characters, and bytes are those of the scored text', async () => {
    await using llm = await LLM.load('tiny-dts');
    const text = 'a 語 🙂ß';
    const ids = llm.tokenizer?.encode(text, { addSpecialTokens: false }) ?? [];
    for (let n = 1; n <= ids.length + 2; n++) {
      const { tokens, bytes } = await scoreText(llm, text, n);
      expect(tokens).toBeLessThanOrEqual(n);
      const prefix = llm.tokenizer?.decode(ids.slice(0, tokens)) ?? '';
      expect(text.startsWith(prefix)).toBe(true);
      expect(bytes).toBe(Buffer.byteLength(prefix));
    }
  });

  test('an empty text scores nothing', async () => {
    await using llm = await LLM.load('tiny-dts');
    const score = await scoreText(llm, '');
    expect(score).toEqual({ tokens: 0, bytes: 0, bits: 0 });
    expect([bitsPerByte(score), perplexity(score)]).toEqual([Number.NaN, Number.NaN]);
  });

  test('without a begin-of-text token the first token is context, and said to be', async () => {
    const tokenizer = JSON.parse(String(await tinyFile('tokenizer.json')));
    const folder = await changedTiny({
      'tokenizer.json': { ...tokenizer, post_processor: null },
      'tokenizer_config.json': {},
      'a.txt': TEXT,
    });
    await using llm = await LLM.load(folder);
    const ids = llm.tokenize(TEXT);
    expect(llm.tokenizer && beginOfText(llm.tokenizer)).toBe(undefined);
    const score = await scoreText(llm, TEXT);
    const first = llm.tokenizer?.decode([ids[0]]) ?? '';
    expect(score).toMatchObject({ tokens: ids.length - 1, bytes: Buffer.byteLength(TEXT) - Buffer.byteLength(first) });
    expect(score.bits).toBeCloseTo(await bitsOf(llm, ids), 3);
    const { code, stderr } = await runOnOneRank(['eval', '-m', folder, '--file', join(folder, 'a.txt'), '-n', '3']);
    expect(code).toBe(0);
    expect(stderr).toMatch(/^warning: .*first token of each file is not scored/);
  });
});

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { openModelFiles } from '../../src/checkpoint/open-model-files.ts';
import {
  ChatTemplateError,
  ContextLengthError,
  DisposedError,
  QueueFullError,
  TextLimitError,
} from '../../src/errors.ts';
import type { TextJob } from '../../src/text/text-job.ts';
import { openText, type TextOptions } from '../../src/text/text-source.ts';
import { TextThreads } from '../../src/text/text-threads.ts';
import { TINY_DTS } from '../cli/tiny-dts.ts';
import { ENDLESS, endlessTokenizer } from './endless-tokenizer.ts';

const TEMPLATE = '{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}';

async function open(folder = TINY_DTS, options: TextOptions = { chatTemplate: TEMPLATE }) {
  const { source, ...parts } = await openText(await openModelFiles(folder), options);
  const threads = new TextThreads(parts, source);
  onTestFinished(() => threads.dispose());
  const { tokenizer } = parts;
  if (!tokenizer) throw new Error('no tokenizer');
  return { threads, tokenizer };
}

type Encode = Extract<TextJob, { type: 'encode' }>;
const encoding = (text: string, maxCharacters = Number.POSITIVE_INFINITY): Encode => ({
  type: 'encode',
  input: { text, addSpecialTokens: true },
  maxCharacters,
});
const chatting = (template?: string): Encode => ({
  type: 'encode',
  input: { messages: [{ role: 'user', content: 'hi' }], template, options: {} },
  maxCharacters: Number.POSITIVE_INFINITY,
});

describe('texts on threads of their own', () => {
  test.each([
    ['a short text', 'export interface User {'],
    ['spaces', ' '.repeat(9000)],
    ['other scripts', '漢字 😀 e\u0301 \uFEFF'.repeat(900)],
    ['code', 'export interface User { name: string; }\n'.repeat(250)],
  ])('have the same tokens: %s', async (_, text) => {
    const { threads, tokenizer } = await open();
    const expected = tokenizer.encode(text);
    expect([...(await threads.run(encoding(text)))]).toEqual(expected);
    const list = await threads.run({ ...encoding(text), type: 'list', tokenTexts: true });
    const parsed = (bytes: Uint8Array | undefined) => JSON.parse(new TextDecoder().decode(bytes));
    expect(list.count).toBe(expected.length);
    expect(parsed(list.ids)).toEqual(expected);
    expect(parsed(list.tokenTexts)).toHaveLength(expected.length);
    const whole = await threads.run({ type: 'decode', ids: Float64Array.from(expected), vocabSize: 4096 });
    expect(parsed(whole)).toBe(tokenizer.decode(expected, { skipSpecialTokens: false }));
  });

  test('leave the caller its turns meanwhile', async () => {
    const { threads } = await open();
    let turns = 0;
    let isDone = false;
    const count = () => {
      turns++;
      if (!isDone) setImmediate(count);
    };
    setImmediate(count);
    await threads.run(encoding('ab1{ '.repeat(4000)));
    isDone = true;
    expect(turns).toBeGreaterThan(10);
  });

  test('are encoded at once where they are short and trusted', async () => {
    const { threads, tokenizer } = await open();
    const job = encoding('type A');
    expect([...(await threads.runUnlessShort(job))]).toEqual(tokenizer.encode('type A'));
  });

  test('short ones do not wait for long ones', async () => {
    const { threads } = await open();
    await threads.run(encoding('type A'));
    const ended: string[] = [];
    await Promise.all([
      threads.run(encoding('-'.repeat(50_000))).then(() => ended.push('long')),
      threads.run(encoding('type A')).then(() => ended.push('short')),
    ]);
    expect(ended).toEqual(['short', 'long']);
  });

  test('come from the files that were loaded, not from those that lie there now', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'mamba2-text-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    await writeFile(join(folder, 'tokenizer.json'), await readFile(join(TINY_DTS, 'tokenizer.json')));
    const { threads, tokenizer } = await open(folder, {});
    await rm(join(folder, 'tokenizer.json'));
    expect([...(await threads.run(encoding('type A')))]).toEqual(tokenizer.encode('type A'));
  });

  test('fail with errors of their classes', async () => {
    const { threads } = await open();
    await expect(threads.run(encoding('abc', 2))).rejects.toThrow(ContextLengthError);
    await expect(threads.run(chatting("{{ raise_exception('not so') }}"))).rejects.toThrow(ChatTemplateError);
    expect((await threads.run(chatting())).length).toBeGreaterThan(0);
  });
});

describe('what runs without end', () => {
  /** `ENDLESS` does not come to an end with its regular expression. */
  async function openEndless() {
    const folder = await mkdtemp(join(tmpdir(), 'mamba2-text-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    await writeFile(join(folder, 'tokenizer.json'), await endlessTokenizer());
    return open(folder, {});
  }

  test('fails alone, by its time; those after it come', async () => {
    const { threads } = await openEndless();
    const outcomes = await Promise.allSettled([
      threads.run(encoding('type A')),
      threads.run(encoding(ENDLESS), { milliseconds: 200 }),
      threads.run(encoding('type A')),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    const [, failed] = outcomes;
    const reason: unknown = failed.status === 'rejected' ? failed.reason : undefined;
    expect(reason).toBeInstanceOf(TextLimitError);
    expect(String(reason)).toMatch(/Encoding a text of 60 characters took too long/);
  });

  test('ends with its signal where it has no time', async () => {
    const { threads } = await openEndless();
    await threads.run(encoding('type A'));
    const controller = new AbortController();
    const endless = threads.run(encoding(ENDLESS), { signal: controller.signal });
    const after = threads.run(encoding('type A'));
    const dropped = threads.run(encoding(ENDLESS), { signal: controller.signal });
    controller.abort(new Error('enough'));
    await expect(endless).rejects.toThrow('enough');
    await expect(dropped).rejects.toThrow('enough');
    expect((await after).length).toBeGreaterThan(0);
  });

  test('lets only so many characters wait', async () => {
    const { threads } = await open();
    const text = 'a'.repeat(2 ** 22);
    const running = threads.run(encoding(text)).catch((error: unknown) => error);
    const waiting = [1, 2].map(() => threads.run(encoding(text)).catch((error: unknown) => error));
    await expect(threads.run(encoding(text))).rejects.toThrow(QueueFullError);
    expect((await threads.run(encoding('type A'))).length).toBeGreaterThan(0);
    await threads.dispose();
    for (const outcome of await Promise.all([running, ...waiting])) expect(outcome).toBeInstanceOf(DisposedError);
    await expect(threads.run(encoding(text))).rejects.toThrow(DisposedError);
  });
});

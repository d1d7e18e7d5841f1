import { execFile } from 'node:child_process';
import { cp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { LLM } from '../../src/engine/llm.ts';
import { startChromium } from '../browser/chromium.ts';
import { ROOT } from '../browser/site.ts';
import { makeFolder } from '../checkpoint/folders.ts';
import { expectedCases, TINY_DTS } from '../cli/tiny-dts.ts';
import { need } from '../needs/needs.ts';
import { CHAT_TEMPLATE, startServer, type TestServer } from '../server/test-server.ts';
import { StaticServer } from '../static-server.ts';

const executable = need('chromium');

/** A host whose models pages of other origins may load. */
const ANY_ORIGIN = {
  'access-control-allow-origin': '*',
  'access-control-allow-headers': '*',
  'access-control-expose-headers': '*',
};

/** Counts the page's frames. */
const COUNT_FRAMES = `
  globalThis.frames_ = 0;
  const frame = () => {
    frames_++;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);`;

describe.runIf(executable)('the playground', { timeout: 900_000 }, () => {
  let browser: Browser;
  let server: TestServer;

  beforeAll(async () => {
    browser = await startChromium(executable ?? '');
    server = await startServer();
  }, 180_000);

  afterAll(async () => {
    await browser?.close();
    await server?.close();
  });

  /** A page with what it complains about. */
  async function visit(url: string): Promise<{ page: Page; complaints: string[] }> {
    const page = await browser.newPage({ viewport: { width: 1280, height: 860 } });
    onTestFinished(() => page.close());
    const complaints: string[] = [];
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('console', (message) => {
      if (message.type() === 'error') complaints.push(message.text());
    });
    await page.addInitScript(COUNT_FRAMES);
    await page.goto(url, { timeout: 120_000 });
    return { page, complaints };
  }

  async function loaded(page: Page): Promise<void> {
    await page.waitForFunction(() => document.getElementById('load-text')?.textContent === 'Ready.', null, {
      timeout: 120_000,
    });
  }

  /** What a text reads as once the page has made Markdown of it. */
  function rendered(page: Page, text: string): Promise<string> {
    // As text: vitest would put its own import in place of the browser's.
    const script = `import(new URL('lib/page/turns/answer-view.js', document.baseURI)).then(({ AnswerView }) => {
      const answer = new AnswerView({ isMarkdown: true });
      answer.add(${JSON.stringify(text)}, 'test');
      answer.draw();
      return answer.root.textContent;
    })`;
    return page.evaluate(script) as Promise<string>;
  }

  /** Writes on from a prompt, greedily. → the answer */
  async function generate(page: Page, prompt: string, maxTokens: number): Promise<string> {
    await page.fill('#prompt', prompt);
    await page.fill('[name=temperature]', '0');
    await page.fill('[name=maxTokens]', `${maxTokens}`);
    await page.click('#generate');
    await page.waitForSelector('#generate:not([hidden])', { timeout: 120_000 });
    await page.waitForTimeout(50);
    return (await page.textContent('#answer-text')) ?? '';
  }

  test('loads the bundled model, generates what the library does, and draws meanwhile', async () => {
    const { page, complaints } = await visit(`${server.url}/playground`);
    await loaded(page);
    expect(await page.evaluate(() => globalThis.crossOriginIsolated)).toBe(true);
    const [{ prompt, greedy }] = await expectedCases();
    const expected = await server.llm.complete(prompt, { temperature: 0, maxTokens: greedy.length });
    // A page that computed by itself would draw nothing between the first token and the last.
    const framesBefore = (await page.evaluate('frames_')) as number;
    expect(framesBefore).toBeGreaterThan(5);
    expect(await generate(page, prompt, greedy.length)).toBe(expected.text);
    expect(((await page.evaluate('frames_')) as number) - framesBefore).toBeGreaterThan(5);
    expect(await page.textContent('#fact-device')).toBe('WebAssembly');
    expect(await page.textContent('#device-note')).toMatch(/\w/);
    expect(await page.textContent('#fact-memory')).toMatch(/MB$/);
    expect(Number(await page.textContent('#fact-speed'))).toBeGreaterThan(0);
    expect(await page.textContent('#stored-list')).toContain('tiny-dts');
    expect(complaints).toEqual([]);
  });

  test('runs where there is no WebGPU, and says why', async () => {
    const { page } = await visit(`${server.url}/playground/#device=webgpu&dtype=int8`);
    await loaded(page);
    expect(await page.textContent('#fact-device')).toBe('WebAssembly');
    expect(await page.textContent('#device-note')).toMatch(/Not on the requested device: .*GPU/i);
  });

  test('stops, and says what can not be loaded', async () => {
    const { page } = await visit(`${server.url}/playground/`);
    await loaded(page);
    await page.fill('[name=maxTokens]', '100000');
    await page.click('#generate');
    await page.waitForFunction(() => (document.getElementById('answer-text')?.textContent?.length ?? 0) > 20);
    await page.keyboard.press('Escape');
    await page.waitForSelector('#generate:not([hidden])');
    await page.fill('[name=source]', './nowhere/');
    await page.click('#load');
    await page.waitForSelector('#load-text.failure');
    expect(await page.textContent('#load-text')).toMatch(/nowhere.*config\.json/);
    expect(await page.textContent('#model-name')).toBe('tiny-dts');
    expect(await page.textContent('#stored-list')).not.toContain('nowhere');
    expect(await generate(page, 'export ', 5)).not.toBe('');
  });

  test('forgets a model whose files are of no use, and keeps the one that runs', async () => {
    const folder = await makeFolder({ 'config.json': { architectures: ['LlamaForCausalLM'] } });
    const host = await StaticServer.start({ folders: { '/wrong/': folder }, headers: ANY_ORIGIN });
    onTestFinished(() => host.close());
    const { page } = await visit(`${server.url}/playground/`);
    await loaded(page);
    await page.fill('[name=source]', `${host.origin}/wrong/`);
    await page.click('#load');
    await page.waitForSelector('#load-text.failure');
    expect(await page.textContent('#load-text')).toContain('holds no weights');
    expect(await page.locator('#load-text').evaluate((text) => getComputedStyle(text).color)).toBe(
      await page.locator('#failure').evaluate((text) => {
        text.textContent = 'as errors look';
        return getComputedStyle(text).color;
      }),
    );
    expect(await page.locator('#stored-list li').count()).toBe(1);
    expect(await generate(page, 'export ', 5)).not.toBe('');
  });

  test('chats with a model that has a chat template, and says the same as the library', async () => {
    const folder = await makeFolder();
    await cp(TINY_DTS, folder, { recursive: true });
    await writeFile(join(folder, 'chat_template.jinja'), CHAT_TEMPLATE);
    const host = await StaticServer.start({ folders: { '/chatty-model/': folder }, headers: ANY_ORIGIN });
    onTestFinished(() => host.close());
    const { page, complaints } = await visit(`${server.url}/playground/#model=${host.origin}/chatty-model/`);
    await loaded(page);
    expect(await page.textContent('#model-name')).toBe('chatty-model');
    const llm = await LLM.load(folder);
    onTestFinished(() => llm.dispose());
    const say = async (text: string) => {
      await page.fill('[name=temperature]', '0');
      await page.fill('[name=maxTokens]', '8');
      await page.fill('#prompt', text);
      await page.press('#prompt', 'Enter');
      await page.waitForSelector('.turn:last-child:not([aria-busy]) .note', { timeout: 120_000 });
    };
    const messages: { role: string; content: string }[] = [];
    for (const question of ['Hello', 'Again']) {
      await say(question);
      messages.push({ role: 'user', content: question });
      let answer = '';
      for await (const { text } of llm.chat(messages, { temperature: 0, maxTokens: 8 })) answer += text;
      messages.push({ role: 'assistant', content: answer });
      expect(await page.locator('.turn:last-child .answer').textContent()).toBe(await rendered(page, answer));
    }
    await page.click('#new-conversation');
    expect(await page.locator('.turn').count()).toBe(0);
    await page.click('#mode-text');
    expect(await page.inputValue('#prompt')).toContain('export interface User');
    expect(await generate(page, 'export ', 5)).not.toBe('');
    expect(complaints).toEqual([]);
  });

  test('gives answers the form of a schema, and says what is wrong with one', async () => {
    const { page, complaints } = await visit(`${server.url}/playground/`);
    await loaded(page);
    await page.fill('#schema', '{"type": "object"');
    await page.click('#generate');
    expect(await page.textContent('#schema-problem')).toMatch(/^This is not JSON: /);
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('schema');
    expect(await page.textContent('#answer-text')).toBe('');
    const schema = {
      type: 'object',
      properties: { name: { enum: ['User', 'Group'] }, admin: { type: 'boolean' } },
      required: ['name', 'admin'],
      additionalProperties: false,
    };
    await page.fill('#schema', JSON.stringify(schema));
    const answer = JSON.parse(await generate(page, 'export interface User {', 60));
    expect(['User', 'Group']).toContain(answer.name);
    expect(typeof answer.admin).toBe('boolean');
    expect(complaints).toEqual([]);
  });

  test('shows thoughts and calls, and takes their results', async () => {
    const folder = await makeFolder();
    await cp(TINY_DTS, folder, { recursive: true });
    await writeFile(join(folder, 'chat_template.jinja'), CHAT_TEMPLATE);
    const host = await StaticServer.start({ folders: { '/model/': folder }, headers: ANY_ORIGIN });
    onTestFinished(() => host.close());
    const { page, complaints } = await visit(`${server.url}/playground/#model=${host.origin}/model/`);
    await loaded(page);
    // No small model calls: answers are given in place of the model's.
    await page.evaluate(`import(new URL('lib/index.js', document.baseURI)).then(({ LLM }) => {
      globalThis.asked_ = [];
      LLM.prototype.chat = async function* (messages, { tools }) {
        asked_.push({ messages, tools });
        if (messages.at(-1).role === 'tool') return yield { text: 'It rains.' };
        yield { text: '', reasoning: 'Which city?' };
        yield { text: '', toolCalls: [{ index: 0, id: 'call_1', name: 'weather', arguments: '{"city":' }] };
        yield { text: '', toolCalls: [{ index: 0, arguments: '"Lyon"}' }] };
      };
    })`);
    await page.fill('#tools', '{"name": "weather"}');
    await page.fill('#prompt', 'Rain?');
    await page.press('#prompt', 'Enter');
    await page.getByLabel('Result of weather').fill('true');
    expect(await page.textContent('.call summary')).toBe('Call of weather {"city":"Lyon"}');
    expect(await page.textContent('.thoughts')).toBe('Which city?');
    expect(await page.locator('.turn details[open]').count()).toBe(0);
    await page.fill('#prompt', 'not sent');
    await page.click('.result button');
    await page.waitForSelector('.turn:nth-child(2):not([aria-busy]) .note');
    expect(await page.textContent('.turn:last-child .answer')).toBe('It rains.');
    expect(await page.inputValue('#prompt')).toBe('not sent');
    const asked = (await page.evaluate('asked_')) as { messages: unknown; tools: unknown }[];
    expect(asked[1]).toEqual({
      tools: [{ type: 'function', function: { name: 'weather' } }],
      messages: [
        { role: 'user', content: 'Rain?' },
        {
          role: 'assistant',
          content: '',
          reasoning_content: 'Which city?',
          tool_calls: [{ id: 'call_1', type: 'function', function: { name: 'weather', arguments: '{"city":"Lyon"}' } }],
        },
        { role: 'tool', tool_call_id: 'call_1', content: 'true' },
      ],
    });
    expect(complaints).toEqual([]);
  });

  test('is a folder for any static host', async () => {
    const folder = await makeFolder();
    await promisify(execFile)(process.execPath, [`${ROOT}scripts/build-playground.mjs`, folder], { cwd: ROOT });
    const host = await StaticServer.start({ folders: { '/some/where/': folder } });
    onTestFinished(() => host.close());
    const { page, complaints } = await visit(`${host.origin}/some/where/index.html`);
    await loaded(page);
    expect(await page.isVisible('#threads-note')).toBe(true);
    expect(await generate(page, 'export ', 5)).not.toBe('');
    expect(complaints).toEqual([]);
  });
});

describe('files of the playground', () => {
  test('come with ranges, tags and isolation; others do not come', async () => {
    const server = await startServer();
    onTestFinished(() => server.close());
    const url = `${server.url}/playground/models/tiny-dts/config.json`;
    const whole = await fetch(url);
    const text = await whole.text();
    const etag = whole.headers.get('etag') ?? '';
    const range = await fetch(url, { headers: { range: 'bytes=2-5' } });
    expect([range.status, await range.text()]).toEqual([206, text.slice(2, 6)]);
    expect(range.headers.get('content-range')).toBe(`bytes 2-5/${text.length}`);
    expect((await fetch(url, { headers: { range: 'bytes=99999-' } })).status).toBe(416);
    expect((await fetch(url, { headers: { 'if-none-match': etag } })).status).toBe(304);
    const head = await fetch(url, { method: 'HEAD' });
    expect(head.headers.get('content-length')).toBe(`${text.length}`);
    expect(whole.headers.get('cross-origin-embedder-policy')).toBe('require-corp');
    for (const path of ['package.json', 'lib/../../package.json', 'lib/server/app.js', 'lib/%2e%2e/package.json']) {
      expect((await fetch(`${server.url}/playground/${path}`)).status, path).toBe(404);
    }
  });
});

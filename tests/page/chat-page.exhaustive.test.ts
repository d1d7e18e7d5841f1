import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { scaleColor, scalePosition } from '../../src/page/memory/scale.ts';
import { startChromium } from '../browser/chromium.ts';
import { need } from '../needs/needs.ts';
import { CHAT_TEMPLATE, startServer, type TestServer } from '../server/test-server.ts';
import { PageUnderTest } from './page-under-test.ts';

const PROMPT = 'export interface User {\n';
const executable = need('chromium');

describe.runIf(executable)('the chat page in Chromium', { timeout: 900_000 }, () => {
  let browser: Browser;
  let server: TestServer;

  beforeAll(async () => {
    browser = await startChromium(executable ?? '');
    server = await startServer({}, { chatTemplate: null });
  }, 180_000);

  afterAll(async () => {
    await browser?.close();
    await server?.close();
  });

  async function visit(viewport?: { width: number; height: number }): Promise<PageUnderTest> {
    const page = await PageUnderTest.open(browser, `${server.url}/`, viewport);
    await page.page.waitForFunction(() => document.getElementById('model-name')?.textContent === 'tiny-dts');
    return page;
  }

  test('continues a text as the library does, and draws how long the model remembers', async () => {
    const page = await visit();
    await page.set({ seed: 7, temperature: 0.8, topP: 0.9, maxTokens: 40 });
    const answer = await page.write(PROMPT);
    const options = { seed: 7, temperature: 0.8, topP: 0.9, maxTokens: 40 };
    expect(answer).toBe((await server.llm.complete(PROMPT, options)).text);
    expect(await page.text('.turn .question')).toBe(PROMPT);
    expect(await page.text('#memory-words')).toMatch(
      /^Half of the heads lose half of their state within [\d.,]+ tokens/,
    );
    await page.page.waitForSelector('#memory-map[aria-label*="14 layers with 8 heads each"]');
    expect(await page.screenshotColors()).toBeGreaterThan(200);
    expect(page.complaints).toEqual([]);
  });

  test('continues its own text when nothing is written', async () => {
    const page = await visit();
    await page.set({ temperature: 0, maxTokens: 12 });
    await page.write(PROMPT);
    await page.page.click('#send');
    await page.page.waitForFunction(
      () => (document.querySelector('.turn')?.querySelectorAll('.token').length ?? 0) > 12,
    );
    expect(await page.answered()).toBe((await server.llm.complete(PROMPT, { temperature: 0, maxTokens: 24 })).text);
    expect(await page.page.locator('.turn').count()).toBe(1);
    expect(await page.text('.turn .note')).toContain('prompt tokens known before');
  });

  test('text comes while it is written, and stops when it should, by button and by key', async () => {
    const page = await visit();
    await page.set({ maxTokens: 16000, temperature: 1.2, topP: 1 });
    // An answer that does not end by itself, however quick the machine is.
    await page.page.route('**/v1/completions', (route) =>
      route.continue({ postData: { ...route.request().postDataJSON(), ignore_eos: true } }),
    );
    for (const stop of [() => page.page.click('#stop'), () => page.page.keyboard.press('Escape')]) {
      await page.send(PROMPT);
      await page.page.waitForFunction(
        () => (document.querySelector('.turn:last-child[aria-busy]')?.querySelectorAll('.token').length ?? 0) > 5,
      );
      expect(server.llm.engine.stats().runningRequests).toBe(1);
      await stop();
      expect(await page.answered()).not.toBe('');
      expect(await page.text('.turn:last-child .note')).toBe('Stopped.');
      await expect.poll(() => server.llm.engine.stats().runningRequests).toBe(0);
      expect(await page.page.locator('#send').isVisible()).toBe(true);
    }
  });

  test('settings change the answer, hold for the next visit, and can be reset', async () => {
    const page = await visit();
    await page.set({ temperature: 1, seed: 1, maxTokens: 20 });
    const first = await page.write(PROMPT);
    await page.set({ seed: 2 });
    const second = await page.write(PROMPT);
    expect(second).not.toBe(first);
    await page.set({ seed: 1 });
    expect(await page.write(PROMPT)).toBe(first);
    await page.set({ maxTokens: 3, temperature: 0, theme: 'dark', pictureInterval: 0 });
    await page.write(PROMPT);
    expect(await page.text('.turn:last-child .note')).toMatch(/^3 tokens/);
    expect(page.asked.at(-1)).not.toHaveProperty('half_life_interval');
    await page.page.reload();
    expect(await page.page.inputValue('[name="maxTokens"]')).toBe('3');
    expect(await page.page.evaluate(() => getComputedStyle(document.documentElement).colorScheme)).toBe('dark');
    await page.page.click('#open-settings');
    await page.page.click('#reset-settings');
    expect(await page.page.inputValue('[name="maxTokens"]')).toBe('256');
  });

  test('the picture changes with the text, its cells have the colours of what they say', async () => {
    const page = await visit();
    await page.set({ temperature: 0, maxTokens: 10 });
    const pictures = [await page.picture()];
    for (const text of [PROMPT, '/** Hello. */\n']) {
      await page.write(text);
      pictures.push(await page.picture());
    }
    expect(new Set(pictures).size).toBe(3);
    await page.page.focus('#memory-map');
    for (const key of ['ArrowDown', 'ArrowDown', 'ArrowRight', 'ArrowUp']) await page.page.keyboard.press(key);
    const said = await page.text('#memory-cell');
    const [, halfLife = ''] = /^Layer 2, head 2: ([\d.,]+) tokens?$/.exec(said) ?? [];
    await page.page.locator('#memory-map').blur();
    const color = await page.page.locator('#memory-map').evaluate((canvas) => {
      if (!(canvas instanceof HTMLCanvasElement)) return [];
      const [x, y] = [(1.5 * canvas.width) / 8, (1.5 * canvas.height) / 14];
      return Array.from(canvas.getContext('2d')?.getImageData(x, y, 1, 1).data ?? []);
    });
    const expected = scaleColor(scalePosition(Number(halfLife.replaceAll(',', ''))));
    const channels = expected.match(/\d+/g)?.map(Number) ?? [];
    // What is said is rounded to two or three digits.
    for (const [i, channel] of channels.entries()) expect(Math.abs(channel - color[i])).toBeLessThanOrEqual(3);
  });

  test('every token shows what was remembered when it was read', async () => {
    const page = await visit();
    await page.set({ temperature: 0, maxTokens: 30 });
    // Not what the cache knows: that would not be read again.
    await page.write(`/** Read once. */\n${PROMPT}`);
    const live = await page.picture();
    await page.page.hover('.token >> nth=4');
    const token = (await page.text('.token >> nth=4')).replaceAll('\n', '⏎').replaceAll('\t', '⇥').replaceAll(' ', '␣');
    expect(await page.text('#memory-title')).toBe(`Reading “${token}”`);
    expect(await page.picture()).not.toBe(live);
    await page.page.hover('header');
    expect(await page.picture()).toBe(live);
    await page.page.focus('#memory-moment');
    await page.page.keyboard.press('Home');
    expect(await page.text('#memory-title')).toBe('Reading the prompt');
    await page.page.keyboard.press('ArrowRight');
    expect(await page.text('.token.marked')).toBe(await page.text('.token >> nth=0'));
    await page.page.keyboard.press('End');
    expect(await page.picture()).toBe(live);
  });

  test('numbers stand in for the picture', async () => {
    const page = await visit();
    await page.set({ maxTokens: 5 });
    await page.write(PROMPT);
    await page.page.click('#memory-numbers summary');
    await page.page.waitForSelector('#memory-table tr:nth-child(14)');
    const rows = await page.page.locator('#memory-table tr').allInnerTexts();
    expect(rows).toHaveLength(14);
    for (const row of rows) {
      const [, shortest, median, longest] = row.split('\t').map((cell) => Number(cell.replaceAll(',', '')));
      expect(shortest).toBeLessThanOrEqual(median);
      expect(median).toBeLessThanOrEqual(longest);
    }
  });

  test('what goes wrong is said in plain words, and can be tried again', async () => {
    const page = await visit();
    await page.set({ maxTokens: 5, temperature: 0 });
    const answers = [
      { status: 429, body: '{}', says: 'The server has as many requests as it can take.' },
      { status: 503, body: '{}', says: 'The server is shutting down' },
      { status: 400, body: '{"error":{"message":"Too long."}}', says: 'Too long.' },
      { status: 502, body: '<html>', says: 'The server answered with status 502' },
      { status: 200, body: 'data: {"error":{"message":"It broke."}}\n\n', says: 'It broke.' },
      { status: 200, body: 'data: {"choices":[]}\n\n', says: 'The server stopped in the middle of the answer.' },
    ];
    for (const { says, ...answer } of answers) {
      await page.page.route('**/v1/completions', (route) => route.fulfill(answer), { times: 1 });
      await page.send(PROMPT);
      expect(await page.page.locator('.turn:last-child [role="alert"]').textContent()).toContain(says);
    }
    await page.page.route('**/v1/completions', (route) => route.abort(), { times: 1 });
    await page.send(PROMPT);
    expect(await page.text('.turn:last-child [role="alert"]')).toContain('cannot be reached');
    await page.page.click('.turn:last-child .again');
    expect(await page.answered()).toBe((await server.llm.complete(PROMPT, { temperature: 0, maxTokens: 5 })).text);
    await page.set({ maxTokens: 16384 });
    await page.send(PROMPT);
    expect(await page.text('.turn:last-child [role="alert"]')).toContain('16384 tokens of prompt and answer together');
  });

  test('fits a phone', async () => {
    const page = await visit({ width: 360, height: 700 });
    await page.set({ maxTokens: 60 });
    await page.write(PROMPT);
    expect(await page.page.isVisible('#memory-map')).toBe(false);
    await page.page.tap('#memory-toggle');
    expect(await page.page.getAttribute('#memory-toggle', 'aria-expanded')).toBe('true');
    expect(await page.page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
    for (const selector of ['#input', '#send', '#memory-map', '#open-settings', '#model-name', '.turn']) {
      const box = await page.page.locator(selector).boundingBox();
      expect(box?.x, selector).toBeGreaterThanOrEqual(0);
      expect((box?.x ?? 0) + (box?.width ?? 999), selector).toBeLessThanOrEqual(360);
    }
    await page.page.tap('.token >> nth=3');
    expect(await page.text('#memory-title')).toMatch(/^Reading “/);
    await page.page.tap('#memory-toggle');
    expect(await page.page.isVisible('#memory-map')).toBe(false);
  });

  test('leads to the playground, which leads back', async () => {
    const page = await visit();
    await page.page.click('.bar a[href="playground/"]');
    await page.page.waitForSelector('#model-form');
    await page.page.click('#server-page');
    await page.page.waitForSelector('#memory-map');
  });
});

describe.runIf(executable)('answers in Markdown', { timeout: 900_000 }, () => {
  let browser: Browser;
  let server: TestServer;

  beforeAll(async () => {
    browser = await startChromium(executable ?? '');
    server = await startServer({ chatTemplate: CHAT_TEMPLATE, modelNames: ['org/some-model'] });
  }, 180_000);

  afterAll(async () => {
    await browser?.close();
    await server?.close();
  });

  /** A page whose server answers with these pieces of text, each with a report of half-lives. */
  async function answered(pieces: readonly string[]): Promise<PageUnderTest> {
    const page = await PageUnderTest.open(browser, `${server.url}/`);
    await page.page.waitForFunction(() => document.getElementById('model-name')?.textContent === 'some-model');
    const events = [...pieces, ''].map((content, i) => ({
      choices: [
        {
          delta: { content },
          half_lives: [[i + 1, 2]],
          finish_reason: content === '' ? 'stop' : null,
        },
      ],
    }));
    const body = [...events.map((event) => JSON.stringify(event)), '[DONE]']
      .map((data) => `data: ${data}\n\n`)
      .join('');
    await page.page.route('**/v1/chat/completions', (route) => route.fulfill({ status: 200, body }));
    await page.write('Hello');
    return page;
  }

  const ANSWER = [
    '# A title\n\nSome **bold** and *soft* `code`, a [link](https://example.com/).\n\n',
    '```ts\nconst a = 1 < 2 && "x";\n\n  indented();\n```\n\n',
    '1. one\n2. two\n   - deep\n\n> quoted\n\n| a | b |\n| - | - |\n| 1 | 2 |\n',
  ].join('');

  test('have headings, emphasis, code, lists, quotes, tables and links', async () => {
    const page = await answered(ANSWER.split(/(?<=\s)/));
    const { page: view } = page;
    expect(await page.text('.answer h3')).toBe('A title');
    expect(await page.text('.answer strong')).toBe('bold');
    expect(await page.text('.answer p code')).toBe('code');
    expect(await page.text('.answer pre code')).toBe('const a = 1 < 2 && "x";\n\n  indented();');
    expect(await page.text('.code-bar span')).toBe('ts');
    expect(await view.locator('.answer ol > li').count()).toBe(2);
    expect(await page.text('.answer ul li')).toBe('deep');
    expect(await page.text('.answer blockquote')).toBe('quoted');
    expect(await view.locator('.answer td').allTextContents()).toEqual(['1', '2']);
    expect(await view.getAttribute('.answer a', 'href')).toBe('https://example.com/');
    expect(page.complaints).toEqual([]);
  });

  test('look the same however they were cut', async () => {
    const looks = [];
    for (const pieces of [[ANSWER], [...ANSWER], ANSWER.split(/(?<=\n)/)]) {
      const page = await answered(pieces);
      looks.push(
        await page.page.locator('.answer').evaluate((answer) => {
          for (const token of answer.querySelectorAll('.token')) token.replaceWith(...token.childNodes);
          answer.normalize();
          return answer.innerHTML;
        }),
      );
    }
    expect(new Set(looks).size).toBe(1);
  });

  test('never become markup of the page, whatever the model writes', async () => {
    const hostile = [
      '<img src=x onerror="document.title=1"> <script>document.title=1</script>\n\n',
      '[a](javascript:document.title=1) [b](data:text/html,x) ![c](https://example.com/pixel.png)\n\n',
      '<div onclick="document.title=1">block</div>\n\n`<b>` &lt;i&gt;\n',
    ];
    const page = await answered(hostile);
    const elements = await page.page.locator('.answer').evaluate((answer) => ({
      names: [...new Set([...answer.querySelectorAll('*')].map(({ localName }) => localName))].sort(),
      links: [...answer.querySelectorAll('a')].map(({ href }) => href),
      text: answer.textContent ?? '',
    }));
    expect(elements.names).toEqual(['a', 'code', 'p', 'span']);
    expect(elements.links).toEqual(['https://example.com/pixel.png']);
    for (const shown of ['<script>document.title=1</script>', 'onerror', '<div onclick', '<b>', '<i>']) {
      expect(elements.text).toContain(shown);
    }
    expect(await page.page.title()).not.toBe('1');
    expect(page.complaints).toEqual([]);
  });

  test('are copied as a whole, and code by itself', async () => {
    const page = await answered([ANSWER]);
    await page.page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    const copied = () => page.page.evaluate(() => navigator.clipboard.readText());
    await page.page.click('.code-bar .copy');
    await page.page.waitForFunction(() => document.querySelector('.code-bar .copy')?.textContent === 'Copied');
    expect(await copied()).toBe('const a = 1 < 2 && "x";\n\n  indented();');
    await page.page.click('.copy-answer');
    await page.page.waitForFunction(() => document.querySelector('.copy-answer')?.textContent === 'Copied');
    expect(await copied()).toBe(ANSWER);
  });

  test('still lead from each word to what was remembered when it was read', async () => {
    const page = await answered(['Some ', '**bo', 'ld** ', 'words.']);
    for (const [text, moment] of [
      ['Some ', 'Some␣'],
      ['bo', '**bo'],
      ['ld', 'ld**␣'],
      ['words.', 'words.'],
    ]) {
      await page.page.locator('.token', { hasText: new RegExp(`^${text}$`) }).hover();
      expect(await page.text('#memory-title')).toBe(`Reading “${moment}”`);
    }
  });
});

describe.runIf(executable)('with a chat template and a key', { timeout: 900_000 }, () => {
  test('the page holds a conversation, once it has the key', async () => {
    const browser = await startChromium(executable ?? '');
    onTestFinished(() => browser.close());
    const server = await startServer({ chatTemplate: CHAT_TEMPLATE, apiKeys: ['secret'] });
    onTestFinished(() => server.close());
    const page = await PageUnderTest.open(browser, `${server.url}/`);
    await page.page.waitForSelector('#settings[open]');
    expect(await page.text('#welcome-text')).toContain('requires an API key');
    await page.page.fill('[name="apiKey"]', 'secret');
    await page.page.fill('[name="maxTokens"]', '6');
    await page.page.fill('[name="temperature"]', '0');
    await page.page.click('#settings button[type="submit"]');
    const first = await page.write('Hello');
    await page.set({ systemPrompt: 'Be brief.' });
    const second = await page.write('Again');
    const messages = [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'Hello' },
      { role: 'assistant', content: first },
      { role: 'user', content: 'Again' },
    ] as const;
    expect(page.asked[1]).toMatchObject({ messages, temperature: 0, max_tokens: 6 });
    const whole = await server.post(
      '/v1/chat/completions',
      { messages, temperature: 0, max_tokens: 6 },
      { headers: { authorization: 'Bearer secret' } },
    );
    expect((await whole.json()).choices[0].message.content).toBe(second);
    await page.page.click('#new-conversation');
    expect(await page.page.locator('.turn').count()).toBe(0);
    expect(await page.page.evaluate(() => JSON.stringify({ ...localStorage }))).not.toContain('secret');
  });
});

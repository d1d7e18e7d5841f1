import type { Browser } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { startChromium } from '../browser/chromium.ts';
import { need } from '../needs/needs.ts';
import { TOOL_TEMPLATE } from '../server/chat-templates.ts';
import { type Script, scripted } from '../server/scripted-answers.ts';
import { startServer, type TestServer } from '../server/test-server.ts';
import { PageUnderTest } from './page-under-test.ts';

const executable = need('chromium');
const CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Lyon"}}\n</tool_call>';
const TOOLS = '[{"name": "weather", "parameters": {"type": "object"}}]';

describe.runIf(executable)('thoughts, calls and forms of answers on the chat page', { timeout: 300_000 }, () => {
  let browser: Browser;
  let server: TestServer;
  let script: Script;

  beforeAll(async () => {
    browser = await startChromium(executable ?? '');
    server = await startServer({ modelNames: ['first', 'org/second'] }, { chatTemplate: TOOL_TEMPLATE });
    script = scripted(server.llm);
  }, 180_000);

  afterEach(() => {
    expect(script.answers).toEqual([]);
  });

  afterAll(async () => {
    await browser?.close();
    await server?.close();
  });

  async function visit(): Promise<PageUnderTest> {
    const page = await PageUnderTest.open(browser, `${server.url}/`);
    await page.page.waitForSelector('.suggestion');
    await page.set({ pictureInterval: 0 });
    return page;
  }

  test('calls and thoughts are folded; results that the reader writes go back to the model', async () => {
    const page = await visit();
    await page.set({ tools: TOOLS });
    expect(await page.text('#asked-for')).toBe('Tools: weather.');
    script.answers.push(`<think>Which city?</think>I look. ${CALL}`, 'It rains.', `${CALL}\n${CALL}`, 'No matter.');
    expect(await page.write('Rain in Lyon?')).toBe('I look.');
    expect(await page.text('.turn .thoughts')).toBe('Which city?');
    expect(await page.text('.turn .call summary')).toBe('Call of weather {"city": "Lyon"}');
    expect(await page.page.locator('.turn details[open]').count()).toBe(0);
    await page.page.click('.turn .call summary');
    expect(JSON.parse(await page.text('.turn .call pre'))).toEqual({ city: 'Lyon' });
    await page.page.getByLabel('Result of weather').fill('{"rain": true}');
    await page.page.keyboard.press('Control+Enter');
    await page.page.waitForSelector('.turn:nth-child(2):not([aria-busy]) .note');
    expect(await page.answer()).toBe('It rains.');
    const [, , asked] = [0, ...page.asked];
    const id = expect.stringMatching(/^call_/);
    expect(asked.tools).toEqual([{ type: 'function', function: { name: 'weather', parameters: { type: 'object' } } }]);
    expect(asked.messages).toEqual([
      { role: 'user', content: 'Rain in Lyon?' },
      {
        role: 'assistant',
        content: 'I look.',
        reasoning_content: 'Which city?',
        tool_calls: [{ id, type: 'function', function: { name: 'weather', arguments: '{"city": "Lyon"}' } }],
      },
      { role: 'tool', tool_call_id: id, content: '{"rain": true}' },
    ]);
    expect(await page.page.locator('.result').count()).toBe(0);
    expect(await page.page.locator('.turn:first-child .call pre').last().textContent()).toBe('{"rain": true}');
    // A question that does not wait for results.
    await page.write('And tomorrow?');
    expect(await page.page.locator('.result textarea').count()).toBe(2);
    await page.write('Well.');
    expect(await page.answer()).toBe('No matter.');
    const messages = page.asked[3].messages as { role: string; content: string }[];
    expect(messages.slice(-3).map(({ role, content }) => [role, content])).toEqual([
      ['tool', ''],
      ['tool', ''],
      ['user', 'Well.'],
    ]);
    expect(page.complaints).toEqual([]);
  });

  test('a call that breaks off is text', async () => {
    const page = await visit();
    await page.set({ tools: TOOLS });
    // The arguments of the second are whole, but not the call.
    for (const begun of [
      '{"name": "weather", "arguments": {"city": "Ly',
      '{"name": "weather", "arguments": {"city": "Lyon"} ',
    ]) {
      script.answers.push(`I look. <tool_call>\n${begun}`);
      expect(await page.write('Rain?')).toContain('"Ly');
      expect(await page.page.locator('.call').count()).toBe(0);
      expect(await page.page.locator('.result').count()).toBe(0);
    }
  });

  test('a schema is checked before it is sent, and is the form of answers', async () => {
    const page = await visit();
    await page.page.click('#open-settings');
    await page.page.fill('#schema', '{"type": }');
    await page.page.keyboard.press('Escape');
    await page.send('Who?');
    await page.page.waitForSelector('#settings[open]');
    expect(await page.text('#schema-problem')).toMatch(/^This is not JSON: /);
    expect(await page.page.evaluate(() => document.activeElement?.id)).toBe('schema');
    await page.page.fill('#schema', '["object"]');
    expect(await page.text('#schema-problem')).toMatch(/A JSON Schema is an object, .* this is a list/);
    await page.page.fill('#schema', '{"type": "object"}');
    expect(await page.text('#schema-problem')).toBe('');
    await page.page.click('#settings button[type="submit"]');
    expect(page.asked).toEqual([]);
    script.answers.push('{}');
    // What was written is still there.
    await page.page.press('#input', 'Enter');
    expect(await page.answered()).toBe('{}');
    expect(page.asked[0].response_format).toEqual({
      type: 'json_schema',
      json_schema: { name: 'answer', schema: { type: 'object' } },
    });
    expect(page.asked[0].messages).toEqual([{ role: 'user', content: 'Who?' }]);
  });

  test('one of several models is chosen, and continues the conversation', async () => {
    const page = await visit();
    const picker = page.page.getByLabel('Model', { exact: true });
    expect(await picker.locator('option').allTextContents()).toEqual(['first', 'second']);
    script.answers.push('One.', 'Two.');
    await page.write('a');
    await picker.selectOption('org/second');
    expect(await page.page.title()).toContain('second');
    await page.write('b');
    expect(page.asked.map(({ model, messages }) => [model, (messages as unknown[]).length])).toEqual([
      ['first', 1],
      ['org/second', 3],
    ]);
  });
});

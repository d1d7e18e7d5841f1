import { expect, onTestFinished, test } from 'vitest';
import { expectedCases } from '../cli/tiny-dts.ts';
import { need } from '../needs/needs.ts';
import { ISOLATION, StaticServer } from '../static-server.ts';
import { bundle } from './bundle.ts';
import { startChromium } from './chromium.ts';
import { ROOT } from './site.ts';

const executablePath = need('chromium');

/** A page of a bundle that defines a global function. */
async function pageOf(bundled: string, name: string) {
  const site = await StaticServer.start({
    folders: { '/models/': `${ROOT}models/`, '/': bundled },
    headers: ISOLATION,
  });
  onTestFinished(() => site.close());
  const browser = await startChromium(executablePath ?? '');
  onTestFinished(() => browser.close());
  const page = await browser.newPage();
  await page.goto(`${site.origin}/index.html`);
  await page.waitForFunction(`${JSON.stringify(name)} in globalThis`);
  return page;
}

test.runIf(executablePath)('what Vite has bundled runs, on two ranks', async () => {
  const page = await pageOf(await bundle(), 'complete');
  const [{ prompt, greedy }] = await expectedCases();
  const parameters = JSON.stringify(['/models/tiny-dts', { tensorParallelSize: 2 }, prompt, greedy.length]);
  expect(await page.evaluate(`complete(...${parameters})`)).toEqual(greedy);
});

const ADAPTERS = `
  import { generateText, streamText } from 'ai';
  import { LLM } from 'mamba2';
  import { mamba2 } from 'mamba2/ai-sdk';
  import { ChatMamba2 } from 'mamba2/langchain';
  import { promptApi } from 'mamba2/prompt-api';

  async function firstOf(stream, length) {
    let text = '';
    for await (const piece of stream) {
      text += piece;
      if (text.length >= length) return text.slice(0, length);
    }
    return text;
  }

  globalThis.answers = async (name, prompt, maxTokens) => {
    const llm = await LLM.load(name);
    const { text: expected } = await llm.completeChat([{ role: 'user', content: prompt }], { temperature: 0, maxTokens });
    const call = { model: mamba2(llm), prompt, maxOutputTokens: maxTokens, temperature: 0 };
    const chat = new ChatMamba2({ llm, temperature: 0, maxTokens });
    const session = await promptApi(llm).create({ temperature: 0 });
    const answers = [
      (await generateText(call)).text,
      await streamText(call).text,
      (await chat.invoke(prompt)).text,
      await chat.streamEvents(prompt).text,
      await firstOf(session.promptStreaming(prompt), expected.length),
    ];
    session.destroy();
    await llm.dispose();
    return [expected, ...answers];
  };`;

test.runIf(executablePath)('adapters that Vite has bundled give the same answers', async () => {
  const page = await pageOf(await bundle(ADAPTERS, ['ai']), 'answers');
  const parameters = JSON.stringify(['/models/tiny-dts', 'export interface User {', 12]);
  const [expected, ...answers] = (await page.evaluate(`answers(...${parameters})`)) as string[];
  expect(expected).toMatch(/\w/);
  expect(answers).toEqual(new Array(5).fill(expected));
});

import type { Browser, Page, Request } from 'playwright-core';
import { onTestFinished } from 'vitest';

/** The chat page in a browser, as its reader sees it. */
export class PageUnderTest {
  readonly page: Page;
  /** What the browser complained about: errors of scripts, and what the page's policy forbids. */
  readonly complaints: string[] = [];
  /** Bodies of the requests for answers. */
  readonly asked: Record<string, unknown>[] = [];

  private constructor(page: Page) {
    this.page = page;
    page.on('pageerror', (error) => this.complaints.push(error.message));
    page.on('console', (message) => {
      if (message.type() === 'error') this.complaints.push(message.text());
    });
    page.on('request', (request: Request) => {
      if (request.method() === 'POST') this.asked.push(request.postDataJSON());
    });
  }

  /** A fresh profile. Motion is reduced, so that pictures are final as soon as they are drawn. */
  static async open(browser: Browser, url: string, viewport = { width: 1280, height: 800 }): Promise<PageUnderTest> {
    const context = await browser.newContext({ viewport, reducedMotion: 'reduce', hasTouch: viewport.width < 600 });
    onTestFinished(() => context.close());
    // A machine with other work may take its time.
    context.setDefaultTimeout(150_000);
    const opened = new PageUnderTest(await context.newPage());
    await opened.page.goto(url);
    return opened;
  }

  /** Sets fields of the settings by their names. */
  async set(fields: Readonly<Record<string, string | number>>): Promise<void> {
    await this.page.click('#open-settings');
    for (const [name, value] of Object.entries(fields)) {
      const field = this.page.locator(`#settings [name="${name}"]`);
      if ((await field.evaluate((each) => each.tagName)) === 'SELECT') await field.selectOption(`${value}`);
      else await field.fill(`${value}`);
    }
    await this.page.click('#settings button[type="submit"]');
  }

  /** Sends a text. */
  async send(text: string): Promise<void> {
    await this.page.fill('#input', text);
    await this.page.press('#input', 'Enter');
  }

  /** Sends a text and waits for the whole answer. → the answer */
  async write(text: string): Promise<string> {
    await this.send(text);
    return this.answered();
  }

  async answered(): Promise<string> {
    await this.page.waitForSelector('.turn:last-child:not([aria-busy]) .note');
    return this.answer();
  }

  answer(): Promise<string> {
    return this.text('.turn:last-child .answer');
  }

  async text(selector: string): Promise<string> {
    return (await this.page.locator(selector).textContent()) ?? '';
  }

  /** The picture's pixels, as text. */
  picture(): Promise<string> {
    return this.page
      .locator('#memory-map')
      .evaluate((canvas) => (canvas instanceof HTMLCanvasElement ? canvas.toDataURL() : ''));
  }

  /** How many colours a screenshot has. */
  async screenshotColors(): Promise<number> {
    const png = (await this.page.screenshot()).toString('base64');
    const blank = await this.page.context().newPage();
    return blank.evaluate(async (encoded) => {
      const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
      const image = await createImageBitmap(new Blob([bytes]));
      const context = new OffscreenCanvas(image.width, image.height).getContext('2d');
      context?.drawImage(image, 0, 0);
      const pixels = context?.getImageData(0, 0, image.width, image.height).data.buffer ?? new ArrayBuffer();
      return new Set(new Uint32Array(pixels)).size;
    }, png);
  }
}

import { Hono } from 'hono';
import { describe, expect, test } from 'vitest';
import { createApp } from '../../src/server/app.ts';
import { sharedServer } from './test-server.ts';

const server = await sharedServer({ apiKeys: ['secret'] });

describe('the page', () => {
  test('comes with a policy that allows its own scripts only, and has no others', async () => {
    const response = await server.get('/');
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8');
    const policy = response.headers.get('content-security-policy') ?? '';
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toContain('unsafe');
    const text = await response.text();
    const [importMap] = /<script type="importmap">.*?<\/script>/s.exec(text) ?? [''];
    const html = text.replace(importMap, '');
    expect(JSON.parse(importMap.replace(/<[^>]*>/g, ''))).toEqual({ imports: { marked: './page/marked.js' } });
    expect((await server.get('/page/marked.js')).status).toBe(200);
    expect(html).not.toMatch(/<script(?![^>]*src=)|<style|\sstyle=|\son[a-z]+=/);
    const parts = [...html.matchAll(/(?:src|href)="(page\/[^"]+)"/g)].map(([, path]) => path);
    expect(parts.length).toBeGreaterThan(2);
    for (const part of parts) expect((await server.get(`/${part}`)).status, part).toBe(200);
  });

  test('is asked for again, and sent where it changed', async () => {
    const etag = (await server.get('/page/main.js')).headers.get('etag') ?? '';
    const response = await server.get('/page/main.js', { headers: { 'if-none-match': etag } });
    expect(response.status).toBe(304);
    expect(await response.text()).toBe('');
  });

  test.each(['/page/', '/page/../package.json', '/page/%2e%2e/app.js', '/page/main.d.ts', '/page/main.js.map'])(
    'shows nothing else: %s',
    async (path) => {
      expect((await server.get(path)).status).toBe(404);
    },
  );

  test('can be left out', async () => {
    const app = createApp({ llm: server.llm, page: false });
    expect((await app.request('/')).status).toBe(404);
    expect((await app.request('/page/main.js')).status).toBe(404);
  });

  test('finds its parts where the app is mounted', async () => {
    const app = new Hono();
    app.route('/some/llm', createApp({ llm: server.llm }));
    const html = await (await app.request('/some/llm')).text();
    expect(html).toContain('<base href="llm/"');
    expect((await app.request('/some/llm/page/main.js')).status).toBe(200);
  });
});

import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type DefaultTheme, defineConfig } from 'vitepress';

const HERE = fileURLToPath(import.meta.url);
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Pages of the repository, by groups of the sidebar. Each lies where it lies in a clone, so links hold in both. */
const GUIDE: Readonly<Record<string, readonly string[]>> = {
  'Use it': [
    'README',
    'docs/library',
    'docs/server',
    'docs/browser',
    'docs/bundlers',
    'docs/webgpu',
    'docs/cuda',
    'examples/README',
  ],
  Models: ['docs/formats', 'docs/configs', 'docs/adding-a-model', 'models/tiny-dts/README', 'training/README'],
  'How it works': ['docs/architecture', 'docs/glossary'],
  Measured: ['docs/performance', 'docs/webgpu-performance', 'docs/load', 'bench/README'],
  Project: ['CONTRIBUTING', 'CHANGELOG', 'SECURITY'],
};

/** Where TypeDoc writes (typedoc.json), from the root of the repository. */
const API = 'site/api';

function titleOf(page: string): string {
  const [, title = page] = /^# (.+)$/m.exec(readFileSync(join(ROOT, `${page}.md`), 'utf8')) ?? [];
  return title.replaceAll('`', '');
}

function guide(): DefaultTheme.SidebarItem[] {
  return Object.entries(GUIDE).map(([text, pages]) => ({
    text,
    items: pages.map((page) => ({ text: titleOf(page), link: page === 'README' ? '/' : `/${page}` })),
  }));
}

/** The API reference by entry points, and in each by kinds: its page lists what there is of each kind. */
function api(): DefaultTheme.SidebarItem[] {
  return ['mamba2', 'mamba2/ops', 'mamba2/server'].map((entry) => {
    const page = readFileSync(join(ROOT, API, entry, 'index.md'), 'utf8');
    const kinds = [...page.matchAll(/^## (.+)$/gm)].map(([, kind]) => kind);
    const items = kinds.map((text) => ({
      text,
      link: `/api/${entry}/#${text.toLowerCase().replaceAll(' ', '-')}`,
    }));
    return { text: entry, link: `/api/${entry}/`, items };
  });
}

export default defineConfig({
  title: 'mamba2',
  description: 'Mamba-2 inference for TypeScript',
  srcDir: '..',
  srcExclude: ['src/**', 'tests/**', 'dist/**', 'site/*.md', 'playground/**'],
  rewrites: { 'README.md': 'index.md', 'site/api/:page*': 'api/:page*' },
  cleanUrls: true,
  vite: {
    plugins: [
      {
        // Pages are components of Vue, and lie outside of this folder, which has the package.
        name: 'vue-for-pages',
        enforce: 'pre',
        resolveId(id, _importer, options) {
          if (!/^vue(\/|$)/.test(id)) return undefined;
          return options.ssr ? { id, external: true } : this.resolve(id, HERE, { ...options, skipSelf: true });
        },
      },
    ],
  },
  markdown: {
    config(md) {
      // Files of a clone that are no pages of the site, such as NOTICE: their names stay, without a link.
      md.core.ruler.push('links-to-files', ({ tokens, env }) => {
        for (const { children } of tokens) {
          for (const [index, token] of (children ?? []).entries()) {
            const target = token.type === 'link_open' ? String(token.attrGet('href')) : '';
            const isFile = !/^[a-z]+:|^#|^\/|\.md(#|$)/.test(target) && existsSync(join(dirname(env.path), target));
            if (target === '' || !isFile) continue;
            const end = children?.slice(index).find((each) => each.type === 'link_close');
            for (const each of [token, end]) if (each) Object.assign(each, { type: 'text', tag: '', content: '' });
          }
        }
      });
    },
  },
  themeConfig: {
    nav: [
      { text: 'Guide', link: '/docs/library' },
      { text: 'API', link: '/api/' },
    ],
    sidebar: { '/api/': api(), '/': guide() },
    outline: 'deep',
    search: { provider: 'local' },
  },
});

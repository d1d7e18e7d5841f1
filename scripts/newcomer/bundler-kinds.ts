import { join } from 'node:path';
import { type Kind, SAY } from './kind.ts';
import { printed, SERVE } from './node-kinds.ts';

const APP = `import { LLM } from 'mamba2';\n${SAY}globalThis.complete = () => say(LLM, '/models/tiny-dts');\n`;
const HTML = '<!doctype html><link rel="icon" href="data:,"><script type="module" src="./main.js"></script>\n';

const vite: Kind = {
  name: 'Vite',
  async run(bench) {
    const project = await bench.project({ type: 'module' }, 'vite');
    await project.write({
      'index.html': HTML,
      'main.js': APP,
      'vite.config.js':
        "export default { worker: { format: 'es' }, optimizeDeps: { exclude: ['mamba2'] }, build: { target: 'es2022' } };",
    });
    await project.bin('vite', ['build']);
    return bench.inBrowser(join(project.folder, 'dist'));
  },
};

const webpack: Kind = {
  name: 'webpack',
  async run(bench) {
    const project = await bench.project({ type: 'module' }, 'webpack', 'webpack-cli');
    await project.write({ 'main.js': APP, 'dist/index.html': HTML.replace(' type="module"', ' defer') });
    await project.bin('webpack', ['--mode', 'production', '--entry', './main.js', '--output-path', 'dist']);
    return bench.inBrowser(join(project.folder, 'dist'));
  },
};

const esbuildBrowser: Kind = {
  name: 'esbuild, for browsers',
  async run(bench) {
    const project = await bench.project({ type: 'module' }, 'esbuild');
    await project.write({ 'main.js': APP, 'dist/index.html': HTML });
    const entries = ['main.js', 'rank-worker=mamba2/rank-worker', 'files-worker=mamba2/files-worker'];
    await project.bin('esbuild', [...entries, '--bundle', '--format=esm', '--target=es2022', '--outdir=dist']);
    return bench.inBrowser(join(project.folder, 'dist'));
  },
};

const NODE_WORKERS = ['rank', 'text', 'body'].map((name) => `${name}-worker=mamba2/${name}-worker`);

function esbuildNode(format: 'esm' | 'cjs'): Kind {
  return {
    name: `esbuild, for Node, a server (${format})`,
    async run(bench) {
      const project = await bench.project({}, 'esbuild');
      await project.write({
        'main.js': `import { LLM } from 'mamba2';\nimport { serve } from 'mamba2/server';\n${SERVE}`,
      });
      const require =
        "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);";
      await project.bin('esbuild', [
        ...['main.js', ...NODE_WORKERS, '--bundle', '--platform=node', `--format=${format}`, '--outdir=dist'],
        ...['--external:webgpu', '--log-level=error'],
        // Some of the packages that the server stands on are CommonJS.
        ...(format === 'esm' ? ['--out-extension:.js=.mjs', `--banner:js=${require}`] : []),
      ]);
      return printed(await project.run('node', [format === 'esm' ? 'dist/main.mjs' : 'dist/main.js']));
    },
  };
}

const PAGE = `'use client';
import { useEffect } from 'react';
import { LLM } from 'mamba2';
${SAY}
export default function Page() {
  useEffect(() => {
    globalThis.complete = () => say(LLM, '/models/tiny-dts');
  }, []);
  return <p>mamba2</p>;
}
`;
const LAYOUT = 'export default ({ children }) => <html><body>{children}</body></html>;\n';
/** A route on the server, where the package is not bundled. */
const ROUTE = `import { LLM } from 'mamba2';
${SAY}
export const dynamic = 'force-static';
export async function GET() {
  return Response.json(await say(LLM, 'tiny-dts'));
}
`;

function next(bundler: 'webpack' | 'turbopack'): Kind {
  return {
    name: `Next.js with ${bundler}`,
    async run(bench) {
      const project = await bench.project({ type: 'module' }, 'next', 'react', 'react-dom');
      await project.write({
        'app/layout.jsx': LAYOUT,
        'app/page.jsx': PAGE,
        'app/say/route.js': ROUTE,
        'next.config.mjs': "export default { output: 'export', serverExternalPackages: ['mamba2'] };\n",
      });
      await project.bin('next', ['build', `--${bundler}`]);
      return bench.inBrowser(join(project.folder, 'out'));
    },
  };
}

export const bundlerKinds: readonly Kind[] = [
  vite,
  webpack,
  esbuildBrowser,
  esbuildNode('esm'),
  esbuildNode('cjs'),
  next('webpack'),
  next('turbopack'),
];

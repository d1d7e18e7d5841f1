// Builds what must hold on the machine's own GPU to one file, and runs it: see tests/gpu/own-gpu.ts and, with --cuda,
// tests/gpu/own-cuda.ts. --build-only leaves it in dist-gpu/, to be carried with node_modules/webgpu, or with koffi and
// @koromix, and run where there is Node only.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

const root = fileURLToPath(new URL('..', import.meta.url));
const name = process.argv.includes('--cuda') ? 'own-cuda' : 'own-gpu';
await build({
  root,
  configFile: false,
  logLevel: 'warn',
  // The suite's cases run without vitest.
  resolve: { alias: { vitest: fileURLToPath(new URL('../tests/browser/suite/vitest-in-page.ts', import.meta.url)) } },
  ssr: { noExternal: true, external: ['webgpu', 'koffi'] },
  build: {
    ssr: `tests/gpu/${name}.ts`,
    outDir: 'dist-gpu',
    // What the other one was built to stays.
    emptyOutDir: false,
    target: 'node20',
    minify: false,
    rollupOptions: { output: { entryFileNames: `${name}.js` } },
  },
});
if (!process.argv.includes('--build-only')) {
  const { status } = spawnSync(process.execPath, [`dist-gpu/${name}.js`, 'tests/goldens'], {
    cwd: root,
    stdio: 'inherit',
  });
  process.exit(status ?? 1);
}

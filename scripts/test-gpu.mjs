// Builds what must hold on the machine's own GPU to one file, and runs it: see tests/gpu/own-gpu.ts.
// --build-only leaves it in dist-gpu/, to be carried with node_modules/webgpu, and run where there is Node only.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

const root = fileURLToPath(new URL('..', import.meta.url));
await build({
  root,
  configFile: false,
  logLevel: 'warn',
  // The suite's cases run without vitest.
  resolve: { alias: { vitest: fileURLToPath(new URL('../tests/browser/suite/vitest-in-page.ts', import.meta.url)) } },
  ssr: { noExternal: true, external: ['webgpu'] },
  build: {
    ssr: 'tests/gpu/own-gpu.ts',
    outDir: 'dist-gpu',
    target: 'node20',
    minify: false,
    rollupOptions: { output: { entryFileNames: 'own-gpu.js' } },
  },
});
if (!process.argv.includes('--build-only')) {
  const { status } = spawnSync(process.execPath, ['dist-gpu/own-gpu.js', 'tests/goldens'], {
    cwd: root,
    stdio: 'inherit',
  });
  process.exit(status ?? 1);
}

// Builds dist/: kernels and shaders as modules, TypeScript compiled, the pages' other files. Then records what the build was
// made of, so that setup.mjs can tell whether another would make the same.
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { generatedModules, recordBuild, sourcesDigest } from './build-record.mjs';

function step(program, ...args) {
  const { status } = spawnSync(program, args, { stdio: 'inherit', shell: process.platform === 'win32' });
  if (status !== 0) process.exit(status ?? 1);
}

// Before anything is read: what changes during the build counts as changed after it.
const sources = sourcesDigest();
// One that no script makes any more would be compiled too.
for (const path of generatedModules()) rmSync(path);
step('npm', 'run', '--silent', 'kernels');
rmSync('dist', { recursive: true, force: true });
step('tsc', '-p', 'tsconfig.build.json');
step('node', 'scripts/copy-page.mjs');
recordBuild(sources);

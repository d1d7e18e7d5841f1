// Brings a clone into a state in which everything runs: packages as the lock file says, and a build.
// Plain JavaScript, because it runs on whatever Node the machine has, before the project's own is installed.
import { spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { isBuilt } from './build-record.mjs';

const installed = 'node_modules/.package-lock.json';

function isOlder(file, than) {
  return !existsSync(file) || statSync(file).mtimeMs < statSync(than).mtimeMs;
}

function npm(...args) {
  const { status } = spawnSync('npm', args, { stdio: 'inherit', shell: process.platform === 'win32' });
  if (status !== 0) process.exit(status ?? 1);
}

if (isOlder(installed, 'package-lock.json')) {
  // This also builds, by the `prepare` script.
  npm('ci', '--no-fund', '--no-audit', '--loglevel=error');
} else if (!isBuilt()) {
  npm('run', '--silent', 'build');
}

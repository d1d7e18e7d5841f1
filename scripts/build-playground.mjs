// Puts the playground, with all that it needs, into one folder for any static host.
// node scripts/build-playground.mjs [folder]
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { playgroundFiles } from '../dist/server/playground-files.js';

const folder = process.argv[2] ?? 'playground';
rmSync(folder, { recursive: true, force: true });
const files = playgroundFiles();
for (const [path, file] of files) cpSync(file, join(folder, path === '' ? 'index.html' : path));
console.log(`${files.size} files are in ${folder}/`);

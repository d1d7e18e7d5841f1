// Puts the playground, with all that it needs, into one folder for any static host.
// node scripts/build-playground.mjs [folder]
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { playgroundFiles } from '../dist/server/pages/playground-files.js';

const folder = process.argv[2] ?? 'playground';
rmSync(folder, { recursive: true, force: true });
const files = playgroundFiles();
for (const [path, file] of files) cpSync(file, join(folder, path === '' ? 'index.html' : path));
// A static host has no page of a server to link to.
const page = join(folder, 'index.html');
const withLink = readFileSync(page, 'utf8');
const html = withLink.replace(/^.*id="server-page".*\n/m, '');
if (html === withLink) throw new Error("index.html has no link to the server's page.");
writeFileSync(page, html);
console.log(`${files.size} files are in ${folder}/`);

// Remembers digests of what the last build read and of what it wrote: a build is up to date while both are as they were.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const RECORD = 'node_modules/.cache/build-record.json';

/** Inputs of a build: the code, the scripts that build it, their settings, and the installed packages' versions. */
const SOURCES = ['src', 'kernels', 'cuda', 'scripts', 'package.json', 'tsconfig.json', 'tsconfig.build.json'];
const INSTALLED = 'node_modules/.package-lock.json';
const isGenerated = (path) => /\.generated\.[^/\\]+$/.test(path);

export function sourcesDigest() {
  return digest([...SOURCES.flatMap(filesIn).filter((path) => !isGenerated(path)), ...filesIn(INSTALLED)]);
}

export function recordBuild(sources) {
  mkdirSync(dirname(RECORD), { recursive: true });
  writeFileSync(RECORD, JSON.stringify({ sources, outputs: outputsDigest() }));
}

/** Whether a build would make what is there already. */
export function isBuilt() {
  if (!existsSync(RECORD)) return false;
  const record = JSON.parse(readFileSync(RECORD, 'utf8'));
  return record.sources === sourcesDigest() && record.outputs === outputsDigest();
}

function outputsDigest() {
  return digest([...filesIn('dist'), ...generatedModules()]);
}

/** Modules among the sources that scripts write. */
export function generatedModules() {
  return ['src', 'kernels'].flatMap(filesIn).filter(isGenerated);
}

/** The path itself, or the files of the folder that it is, however deep. */
function filesIn(path) {
  if (!existsSync(path)) return [];
  if (!statSync(path).isDirectory()) return [path];
  const entries = readdirSync(path, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
}

function digest(paths) {
  const hash = createHash('sha256');
  for (const path of paths.sort()) {
    const content = readFileSync(path);
    hash.update(`${path}\0${content.length}\0`).update(content);
  }
  return hash.digest('hex');
}

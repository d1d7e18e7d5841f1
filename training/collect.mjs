// Collects the TypeScript declaration files of the packages named in packages.txt and
// heldout-packages.txt.
//
//   node collect.mjs OUT [--cache DIR] [--package-cap BYTES]
//
// writes OUT/train.txt, documents separated by a NUL byte in a fixed random order, and
// OUT/heldout.txt, the same with a first line `name@version/path` in each document. With --cache
// the declarations of each package are kept in DIR, so a second run downloads nothing.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, createWriteStream, writeFileSync } from 'node:fs';
import { execSync } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { entries } from './tar.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    cache: { type: 'string' },
    'package-cap': { type: 'string', default: '125000' },
  },
});
const OUT = positionals[0] ?? 'data';
const PACKAGE_CAP = Number(values['package-cap']);
const FILE_CAP = 200_000;
const MIN_CUT = 10_000;
const FETCH_CAP = 2_000_000;
const HELDOUT = { files: 8, fileCap: 40_000 };
const IN_FLIGHT = 16;
const SEEN_BEFORE = 0.7;
const HERE = new URL('./', import.meta.url);

const registry = execSync('npm config get registry', { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  .trim()
  .replace(/\/?$/, '/');

/** A small seeded generator (mulberry32), so that every run samples and shuffles alike. */
function random(seedText) {
  let a = createHash('sha1').update(seedText).digest().readUInt32LE();
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function shuffle(list, seedText) {
  const next = random(seedText);
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    [list[i], list[j]] = [list[j], list[i]];
  }
  return list;
}

function cutAtLine(text, cap) {
  if (text.length <= cap) return text;
  return text.slice(0, text.lastIndexOf('\n', cap - 1) + 1);
}

function clean(text) {
  return text
    .replace(/^\ufeff/, '')
    .replace(/\r\n?/g, '\n')
    .replace(/\0/g, '')
    .replace(/^\/\/# sourceMappingURL=.*\n?/gm, '');
}

function wanted(path) {
  return /\.d\.[mc]?ts$/.test(path) && !/(^|\/)(node_modules|ts\d\.\d+)\//.test(path);
}

function isTwin(path, all) {
  if (path.endsWith('.d.ts')) return false;
  if (all.has(path.replace(/\.[mc]ts$/, '.ts'))) return true;
  return path.endsWith('.d.cts') && all.has(path.replace(/\.cts$/, '.mts'));
}

async function download(spec) {
  const at = spec.lastIndexOf('@');
  const name = spec.slice(0, at);
  const url = `${registry}${name}/-/${name.split('/').pop()}-${spec.slice(at + 1)}.tgz`;
  for (let attempt = 0; ; attempt++) {
    try {
      const reply = await fetch(url, { signal: AbortSignal.timeout(120_000) });
      if (!reply.ok) throw new Error(`${reply.status} for ${url}`);
      return Buffer.from(await reply.arrayBuffer());
    } catch (error) {
      if (attempt === 2) throw error;
    }
  }
}

/** The usable declaration files of one package, sampled down to FETCH_CAP, as [path, text]. */
async function declarations(spec) {
  const kept = values.cache && join(values.cache, encodeURIComponent(spec) + '.json');
  if (kept && existsSync(kept)) return JSON.parse(readFileSync(kept, 'utf8'));
  let files = [];
  try {
    const tar = gunzipSync(await download(spec));
    files = [...entries(tar)].filter(([path]) => wanted(path));
  } catch (error) {
    console.error(`skipped ${spec}: ${error.message}`);
  }
  const paths = new Set(files.map(([path]) => path));
  const docs = [];
  const hashes = new Set();
  let total = 0;
  files.sort((a, b) => (a[0] < b[0] ? -1 : 1));
  for (const [path, bytes] of shuffle(files, spec)) {
    if (total > FETCH_CAP) break;
    if (isTwin(path, paths)) continue;
    const text = cutAtLine(clean(bytes.toString('utf8')), FILE_CAP);
    if (text.length < 200 || text.length / text.split('\n').length > 200) continue;
    const hash = createHash('sha1').update(text).digest('base64');
    if (hashes.has(hash)) continue;
    hashes.add(hash);
    docs.push([path, text]);
    total += text.length;
  }
  if (kept) writeFileSync(kept, JSON.stringify(docs));
  return docs;
}

/** Lines seen so far, by a 53-bit hash, spread over several sets for their size limit. */
class Lines {
  sets = Array.from({ length: 64 }, () => new Set());
  static hashes(text) {
    const out = [];
    for (const raw of text.split('\n')) {
      const line = raw.trim();
      if (line.length <= 20) continue;
      let a = 0x811c9dc5;
      let b = 0x9747b28c;
      for (let i = 0; i < line.length; i++) {
        const c = line.charCodeAt(i);
        a = Math.imul(a ^ c, 0x01000193);
        b = Math.imul(b ^ c, 0x85ebca6b) ^ (b >>> 13);
      }
      out.push((a >>> 0) * 2097152 + ((b >>> 0) % 2097152));
    }
    return out;
  }
  has(h) {
    return this.sets[h % 64].has(h);
  }
  add(h) {
    this.sets[h % 64].add(h);
  }
  share(hashes) {
    if (hashes.length === 0) return 0;
    let n = 0;
    for (const h of hashes) if (this.has(h)) n++;
    return n / hashes.length;
  }
}

async function* inOrder(specs) {
  const pending = [];
  let next = 0;
  for (let i = 0; i < specs.length; i++) {
    while (next < specs.length && next < i + IN_FLIGHT) pending.push(declarations(specs[next++]));
    yield [specs[i], await pending.shift()];
    if ((i + 1) % 200 === 0) console.error(`${i + 1} of ${specs.length} packages`);
  }
}

const specs = (file) => readFileSync(new URL(file, HERE), 'utf8').split('\n').filter(Boolean);

async function write(path, docs) {
  const stream = createWriteStream(path);
  let bytes = 0;
  for (let i = 0; i < docs.length; i++) {
    const chunk = Buffer.from(i ? '\0' + docs[i] : docs[i]);
    bytes += chunk.length;
    if (!stream.write(chunk)) await new Promise((done) => stream.once('drain', done));
  }
  await new Promise((done) => stream.end(done));
  return bytes;
}

mkdirSync(OUT, { recursive: true });
if (values.cache) mkdirSync(values.cache, { recursive: true });

let heldDocs = [];
const heldLines = new Lines();
for await (const [spec, docs] of inOrder(specs('heldout-packages.txt'))) {
  let taken = 0;
  for (const [path, text] of docs) {
    const hashes = Lines.hashes(text);
    const repeats = heldLines.share(hashes) > SEEN_BEFORE;
    for (const h of hashes) heldLines.add(h);
    if (repeats || taken++ >= HELDOUT.files) continue;
    heldDocs.push({ id: `${spec}/${path}`, text: cutAtLine(text, HELDOUT.fileCap) });
  }
}

const seen = new Lines();
const train = [];
let packages = 0;
const dropped = { duplicate: 0, heldOut: 0 };
for await (const [spec, docs] of inOrder(specs('packages.txt'))) {
  let total = 0;
  for (const [, whole] of docs) {
    const text = cutAtLine(whole, PACKAGE_CAP - total);
    if (text.length < Math.min(whole.length, MIN_CUT)) continue;
    const hashes = Lines.hashes(text);
    if (heldLines.share(hashes) > SEEN_BEFORE) dropped.heldOut++;
    else if (seen.share(hashes) > SEEN_BEFORE) dropped.duplicate++;
    else {
      for (const h of hashes) seen.add(h);
      train.push(text);
      total += text.length;
    }
  }
  if (total > 0) packages++;
}

// A held-out file whose lines mostly occur in the training text measures nothing: leave it out.
const before = heldDocs.length;
heldDocs = heldDocs.filter(({ text }) => seen.share(Lines.hashes(text)) <= 0.5);
const trainBytes = await write(join(OUT, 'train.txt'), shuffle(train, 'documents'));
const heldTexts = heldDocs.map(({ id, text }) => `${id}\n${text}`);
const heldBytes = await write(join(OUT, 'heldout.txt'), heldTexts);
console.error(`training: ${packages} packages, ${train.length} documents, ${trainBytes} bytes`);
console.error(`dropped: ${dropped.duplicate} near duplicates, ${dropped.heldOut} like a held-out file`);
const known = before - heldDocs.length;
console.error(`held out: ${heldDocs.length} documents, ${heldBytes} bytes, ${known} dropped as known`);

// Pins package names to their latest versions.
//
//   node resolve.mjs names.txt heldout-names.txt
//
// reads one package name per line and writes packages.txt and heldout-packages.txt next to this
// file, one `name@version` per line. A training package is left out when the registry does not
// know it, when it declares no types, when it is deprecated or very large, when its scope already
// has its share, or when it belongs to the family of a held-out package.
import { readFileSync, writeFileSync } from 'node:fs';
import { execSync } from 'node:child_process';

const PER_SCOPE = 24;
const MAX_UNPACKED = 60e6;
const HERE = new URL('./', import.meta.url);

const registry = execSync('npm config get registry', { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  .trim()
  .replace(/\/?$/, '/');
const names = (file) => [...new Set(readFileSync(file, 'utf8').split(/\s+/).filter(Boolean))];

const segments = (name) => name.replace(/^@types\//, '').toLowerCase().split(/[^a-z0-9]+/).filter(Boolean);

/** Whether `name` carries the held-out name as consecutive words, or shares its scope. */
function related(name, held) {
  const scope = held.match(/^(@[^/]+)\//)?.[1];
  if (scope && scope !== '@types' && name.startsWith(scope + '/')) return true;
  const base = segments(held.replace(/^@(?!types\/)[^/]+\//, ''));
  const own = segments(name);
  return own.some((_, i) => base.every((word, j) => own[i + j] === word));
}

async function manifest(name, tries = 3) {
  try {
    const reply = await fetch(registry + name.replace('/', '%2f') + '/latest');
    if (reply.status === 404) return null;
    if (!reply.ok) throw new Error(String(reply.status));
    return await reply.json();
  } catch (error) {
    return tries > 1 ? manifest(name, tries - 1) : null;
  }
}

function declaresTypes(m) {
  return Boolean(m.types || m.typings || JSON.stringify(m.exports ?? '').includes('"types"'));
}

async function resolveAll(list, keep) {
  const found = new Array(list.length);
  let next = 0;
  let done = 0;
  async function worker() {
    while (next < list.length) {
      const i = next++;
      const m = await manifest(list[i]);
      if (m && !m.deprecated && keep(m)) found[i] = `${m.name}@${m.version}`;
      if (++done % 1000 === 0) console.error(`${done} of ${list.length}`);
    }
  }
  await Promise.all(Array.from({ length: 24 }, worker));
  return found.filter(Boolean);
}

const [trainFile, heldFile] = process.argv.slice(2);
const held = names(heldFile);
const candidates = names(trainFile).filter((name) => !held.some((h) => related(name, h)));
const heldPinned = await resolveAll(held, () => true);
const pinned = await resolveAll(candidates, (m) => declaresTypes(m) && (m.dist?.unpackedSize ?? 0) < MAX_UNPACKED);
const perScope = new Map();
const chosen = pinned.filter((spec) => {
  const scope = spec.match(/^(@[^/]+)\//)?.[1] ?? '';
  if (!scope || scope === '@types') return true;
  perScope.set(scope, (perScope.get(scope) ?? 0) + 1);
  return perScope.get(scope) <= PER_SCOPE;
});
writeFileSync(new URL('heldout-packages.txt', HERE), heldPinned.join('\n') + '\n');
writeFileSync(new URL('packages.txt', HERE), chosen.join('\n') + '\n');
console.error(`${chosen.length} training packages, ${heldPinned.length} held out`);

// Compiles cuda/*.cu to PTX, which is kept in cuda/ptx/: `npm run ptx`, wherever nvcc of CUDA 13.0 is. With --check nothing is
// written, and it fails where the compiler makes something else of the sources than what is kept; formats of weights after
// --check leave out modules of others.
//
// The text is that of nvcc but for three things. Its version is lowered to the oldest that has all that the kernels use, so
// that older drivers take it, hints that only newer versions know are left out, and names of a file's own symbols lose the
// hash of where the source lies. Comments go.
//
// nvcc orders some registers by addresses in its memory. So it runs where these are the same each time, if the system lets
// it (setarch -R), and for --check it gets several tries with others.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cudaDigest, cudaModules, PTX } from './cuda-sources.mjs';

const NVCC = '13.0';
/** Compilations after which what nvcc makes counts as different from what is kept. */
const TRIES = 10;

const [, , mode, ...formats] = process.argv;
const isCheck = mode === '--check';
const { stdout: version } = run('nvcc', ['--version']);
if (!version.includes(`release ${NVCC}`)) {
  console.error(
    `cuda/ptx is made by nvcc ${NVCC}; found: ${version.split('\n').find((line) => line.includes('release'))}`,
  );
  process.exit(1);
}
const canPin = spawnSync('setarch', ['-R', 'true']).status === 0;
const folder = mkdtempSync(join(tmpdir(), 'mamba2-ptx-'));
const different = [];
try {
  const modules = cudaModules();
  const wanted = modules.filter(({ format }) => !format || formats.length === 0 || formats.includes(format));
  if (isCheck) {
    const kept = readdirSync(PTX);
    const isKept = (file, text) => kept.includes(file) && readFileSync(PTX + file, 'utf8') === text;
    if (!isKept('digest.txt', `${cudaDigest()}\n`)) different.push('digest.txt');
    for (const module of wanted) {
      const file = `${module.name}.ptx`;
      let tries = 1;
      while (tries <= TRIES && !isKept(file, compile(module, tries === 1))) tries++;
      if (tries > TRIES) different.push(file);
    }
    const known = new Set(['digest.txt', ...modules.map(({ name }) => `${name}.ptx`)]);
    different.push(...kept.filter((file) => !known.has(file)));
  } else {
    const texts = new Map(modules.map((module) => [`${module.name}.ptx`, compile(module, true)]));
    texts.set('digest.txt', `${cudaDigest()}\n`);
    rmSync(PTX, { recursive: true, force: true });
    mkdirSync(PTX);
    for (const [file, text] of texts) writeFileSync(PTX + file, text);
  }
} finally {
  rmSync(folder, { recursive: true });
}
if (different.length > 0) {
  console.error(`cuda/ptx is not what the sources make: ${different.join(', ')}. Run 'npm run ptx'.`);
  process.exit(1);
}

/** The text of a module, from a compiler whose memory's addresses are pinned where they can be. */
function compile({ name, source, format, target }, isPinned) {
  const made = join(folder, `${name}.ptx`);
  const options = [
    '--ptx',
    `-arch=${target.name.replace('sm', 'compute')}`,
    '-O3',
    '--std=c++17',
    ...(format ? [`-DFORMAT=${format}`] : []),
  ];
  const nvcc = ['nvcc', ...options, '-o', made, source];
  const [program, ...args] = isPinned && canPin ? ['setarch', '-R', ...nvcc] : nvcc;
  run(program, args);
  const lines = readFileSync(made, 'utf8').split('\n');
  const kept = lines.filter(
    (line) => line.trim() !== '' && !/^\s*\/\//.test(line) && !line.includes('used_bytes_mask'),
  );
  return `${kept.join('\n')}\n`
    .replace(/^\.version .*/m, `.version ${target.ptxVersion}`)
    .replace(/(?<=_INTERNAL_)[0-9a-f]{8}_/g, '00000000_');
}

function run(program, args) {
  const result = spawnSync(program, args, { encoding: 'utf8' });
  if (result.status === 0) return result;
  console.error(result.stderr || `${program} can't be run: ${result.error?.message}`);
  process.exit(1);
}

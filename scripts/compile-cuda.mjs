// Compiles cuda/*.cu to PTX, which is kept in cuda/ptx/: `npm run ptx`, wherever nvcc of CUDA 13.0 is. With --check nothing is
// written, and it fails where the compiler makes something else of the sources than what is kept; formats of weights after
// --check leave out modules of others.
//
// The text is that of nvcc but for three things. Its version is lowered to the oldest that has all that the kernels use, so
// that older drivers take it, hints that only newer versions know are left out, and names of a file's own symbols lose the
// hash of where the source lies. Comments go.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CUDA, cudaDigest, cudaModules, PTX } from './cuda-sources.mjs';

const NVCC = '13.0';
/** Where sources are compiled: what nvcc makes of some depends on the whole path. */
const FOLDER = '/tmp/mamba2-ptx';

const [, , mode, ...formats] = process.argv;
const isCheck = mode === '--check';
const { stdout: version } = run('nvcc', ['--version']);
if (!version.includes(`release ${NVCC}`)) {
  console.error(
    `cuda/ptx is made by nvcc ${NVCC}; found: ${version.split('\n').find((line) => line.includes('release'))}`,
  );
  process.exit(1);
}
const different = [];
try {
  rmSync(FOLDER, { recursive: true, force: true });
  cpSync(CUDA, join(FOLDER, CUDA), { recursive: true, filter: (path) => !path.startsWith(PTX.slice(0, -1)) });
  const modules = cudaModules();
  const wanted = modules.filter(({ format }) => !format || formats.length === 0 || formats.includes(format));
  const texts = new Map(wanted.map((module) => [`${module.name}.ptx`, compile(module)]));
  texts.set('digest.txt', `${cudaDigest()}\n`);
  if (isCheck) {
    const kept = readdirSync(PTX);
    for (const [file, text] of texts) {
      if (!kept.includes(file) || readFileSync(PTX + file, 'utf8') !== text) different.push(file);
    }
    const known = new Set(['digest.txt', ...modules.map(({ name }) => `${name}.ptx`)]);
    different.push(...kept.filter((file) => !known.has(file)));
  } else {
    rmSync(PTX, { recursive: true, force: true });
    mkdirSync(PTX);
    for (const [file, text] of texts) writeFileSync(PTX + file, text);
  }
} finally {
  rmSync(FOLDER, { recursive: true, force: true });
}
if (different.length > 0) {
  console.error(`cuda/ptx is not what the sources make: ${different.join(', ')}. Run 'npm run ptx'.`);
  process.exit(1);
}

function compile({ name, source, format, target }) {
  const made = join(FOLDER, `${name}.ptx`);
  const options = [
    '--ptx',
    `-arch=${target.name.replace('sm', 'compute')}`,
    '-O3',
    '--std=c++17',
    ...(format ? [`-DFORMAT=${format}`] : []),
  ];
  run('nvcc', [...options, '-o', made, join(FOLDER, source)]);
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

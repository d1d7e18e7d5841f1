// The CUDA kernels' sources: which modules there are, and what they were made of.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';

export const CUDA = 'cuda/';
export const PTX = 'cuda/ptx/';

/** Formats of weights, as weights.cuh names them. */
const FORMATS = [
  ...['FLOAT32', 'FLOAT16', 'BFLOAT16', 'Q8_0', 'Q4_0', 'Q4_K', 'Q5_K', 'Q6_K', 'MXFP4', 'NVFP4'],
  ...['INT4_G32', 'INT4_G64', 'INT4_G128', 'INT8_G128', 'F8_E4M3'],
];

/** Formats of 16 bits, which tensor cores take and states may be in; and the one whose products are on the ordinary units. */
const HALVES = ['FLOAT16', 'BFLOAT16'];
const FLOATS = ['FLOAT32'];

/** Formats of keys and values. */
const CACHES = ['FLOAT32', ...HALVES, 'F8_E4M3', 'F8_E5M2'];

/** Sources that are compiled once for each of some formats. */
const OF_FORMATS = {
  attention: CACHES,
  ...Object.fromEntries(['layers-2', 'layers-5', 'layers-8'].map((name) => [name, HALVES])),
  'linear-halves': HALVES,
  'linear-joined': HALVES,
  'short-states': HALVES,
  'linear-tiles': [...HALVES, 'CODES'],
  'linear-wide': [...HALVES, 'CODES'],
  'linear-wide-halves': HALVES,
  'linear-blocks': FORMATS.filter((format) => ![...HALVES, ...FLOATS].includes(format)),
  linear: FLOATS,
  'expert-floats': FLOATS,
  'expert-products': FORMATS.filter((format) => !FLOATS.includes(format)),
  tables: FORMATS,
};

/** Compute capability 8.0, Ampere and all that came after it, in PTX of CUDA 11.4; and 9.0, Hopper only, in that of CUDA 12.0. */
const AMPERE = { name: 'sm_80', ptxVersion: '7.4' };
const HOPPER = { name: 'sm_90a', ptxVersion: '8.0' };
/** 9.0 and all that came after it. */
const SINCE_HOPPER = { name: 'sm_90', ptxVersion: '8.0' };
/** Sources for Hopper's tensor cores, and for its copy engine. */
const TARGETS = { 'linear-wide': HOPPER, 'linear-wide-halves': HOPPER, 'layers-5': SINCE_HOPPER };

/** Modules by name, each with its source, the format that it is compiled for, and what it runs on. */
export function cudaModules() {
  const sources = readdirSync(CUDA).filter((file) => file.endsWith('.cu'));
  return sources
    .map((file) => file.slice(0, -'.cu'.length))
    .sort()
    .flatMap((name) => {
      const source = `${CUDA}${name}.cu`;
      return (OF_FORMATS[name] ?? [undefined]).map((format) => ({
        name: format ? `${name}-${format}` : name,
        source,
        format,
        target: TARGETS[name] ?? AMPERE,
      }));
    });
}

/** What the PTX is made of, all in one digest. */
export function cudaDigest() {
  const hash = createHash('sha256');
  const files = readdirSync(CUDA).filter((file) => /\.cuh?$/.test(file));
  for (const file of files.sort().map((name) => CUDA + name)) {
    hash.update(`${file}\n`).update(readFileSync(file, 'utf8').replaceAll('\r', ''));
  }
  return hash.digest('hex').slice(0, 32);
}

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import koffi from 'koffi';
import { isFloats, isHalves, type StoredFormat } from '../../../src/backends/cuda/device/cuda-weight.ts';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const emulator = fileURLToPath(new URL('emulator', import.meta.url));
// Sums must round as the kernels say: nothing is fused that they do not fuse.
const OPTIONS = ['-w', '-O1', '-std=c++17', '-march=native', '-ffp-contract=off', '-fPIC'];
/** Objects that were compiled, by what they were compiled from: several test files want the same ones. */
const CACHE = join(root, 'node_modules/.cache/mamba2-emulator');
const SHARED = ['chunk-scan', 'rotary', 'convolution', 'experts', 'norms', 'rows', 'sampling', 'state-space'];

/** The driver that runs kernels on the processor. */
export interface EmulatedDriver {
  /** Path of the library. */
  readonly library: string;
  /** Gives the device so much memory, and has every call fail after so many, if that is not below 0. */
  reset(bytes: number, failAfter: number): void;
  /** Launches that have run whose blocks all ran at a time. */
  cooperativeLaunches(): number;
  dispose(): void;
}

/**
 * Builds the driver that runs kernels on the processor: the emulator with the kernels' own sources, as one library.
 * @param formats of weights that are wanted: some sources are compiled for each.
 * @param layers kernels for layers of one row that are wanted: which of cuda/layers-*.cu, and the format that it is compiled for.
 */
export async function buildEmulatedDriver(
  formats: readonly StoredFormat[],
  layers: readonly (readonly [name: string, format: StoredFormat])[] = [],
): Promise<EmulatedDriver> {
  const folder = mkdtempSync(join(tmpdir(), 'mamba2-emulator-'));
  const units = [
    { name: 'driver', args: ['-c', `-I${emulator}`, join(emulator, 'driver.cpp')] },
    ...SHARED.map((name) => ({ name, args: kernelArgs(name) })),
    ...['FLOAT16', 'BFLOAT16'].map((format) => ofFormat('short-states', format)),
    ...['FLOAT32', 'FLOAT16', 'BFLOAT16', 'F8_E4M3', 'F8_E5M2'].map((format) => ofFormat('attention', format)),
    ...formats.flatMap((format) => sourcesOf(format).map((name) => ofFormat(name, format))),
    ...layers.map(([name, format]) => ofFormat(name, format)),
    ...(formats.every(isFloats) ? [] : ['linear-tiles', 'linear-wide'].map((name) => ofFormat(name, 'CODES'))),
  ];
  mkdirSync(CACHE, { recursive: true });
  const sources = sourcesDigest();
  const objects = units.map(({ name, args }) => join(CACHE, `${name}-${digestOf([sources, ...OPTIONS, ...args])}.o`));
  const queue = units.entries();
  const worker = async () => {
    for (const [i, { args }] of queue) {
      if (existsSync(objects[i])) continue;
      // Another process may compile it, too: each puts a whole file there.
      const own = `${objects[i]}.${process.pid}`;
      await compile([...OPTIONS, '-o', own, ...args]);
      renameSync(own, objects[i]);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  const library = join(folder, 'libcuda.so.1');
  await compile(['-shared', '-Wl,-soname,libcuda.so.1', '-o', library, ...objects, '-ldl', '-pthread']);
  const loaded = koffi.load(library);
  const reset = loaded.func('void emulated_reset(uint64_t bytes, int failAfter)');
  const cooperativeLaunches = loaded.func('uint64_t emulated_cooperative()');
  return {
    library,
    reset,
    cooperativeLaunches: () => Number(cooperativeLaunches()),
    dispose: () => rmSync(folder, { recursive: true }),
  };
}

/** Builds NCCL for ranks of this machine on emulated drivers. → path of the library, in the driver's folder */
export async function buildEmulatedNccl({ library: driver }: EmulatedDriver): Promise<string> {
  const library = join(dirname(driver), 'libnccl.so.2');
  await compile([...OPTIONS, '-shared', '-o', library, join(emulator, 'nccl.cpp'), '-ldl', '-pthread']);
  return library;
}

/** Digest of all sources: the kernels' and the emulator's. */
function sourcesDigest(): string {
  const folders = [join(root, 'cuda'), emulator];
  const files = folders.flatMap((folder) => readdirSync(folder).map((name) => join(folder, name))).sort();
  return digestOf(files.filter((path) => /\.(cu|cuh|h|cpp)$/.test(path)).map((path) => readFileSync(path)));
}

function digestOf(parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part).update('\0');
  return hash.digest('hex').slice(0, 16);
}

/** Sources that are compiled for each format. */
function sourcesOf(format: StoredFormat): string[] {
  if (isFloats(format)) return ['tables', 'linear', 'expert-floats'];
  const halves = ['linear-halves', 'linear-joined', 'linear-tiles', 'linear-wide', 'linear-wide-halves'];
  return ['tables', 'expert-products', ...(isHalves(format) ? halves : ['linear-blocks'])];
}

function ofFormat(name: string, format: string) {
  return { name: `${name}-${format}`, args: [...kernelArgs(name), `-DFORMAT=${format}`] };
}

function kernelArgs(name: string): string[] {
  return ['-c', '-include', join(emulator, 'cuda-on-host.h'), '-x', 'c++', join(root, 'cuda', `${name}.cu`)];
}

async function compile(args: readonly string[]): Promise<void> {
  await promisify(execFile)('g++', [...args]);
}

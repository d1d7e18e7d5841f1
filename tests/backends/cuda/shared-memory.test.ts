import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { fuseFirst } from '../../../src/backends/cuda/launch/fuse.ts';
import type { Launch } from '../../../src/backends/cuda/launch/launch.ts';
import { FEW_ROWS_BYTES, JOINED_TILES, TILES, WIDE_TILES } from '../../../src/backends/cuda/ops/linear.ts';

/** Bytes of shared memory of a block that every GPU from Ampere on allows: 99 KB, what a kernel declares included. */
const MOST = 101_376;
/** Bytes of shared memory that a block may have on Hopper: 227 KB. */
const MOST_OF_HOPPER = 232_448;
/** Kernels that only GPUs with that much run. */
const NOT_FOR_ALL = /^linear_(wide|joined_64x32)_/;

test('kernels fit into the shared memory of every GPU, with what their launches ask for', () => {
  const asked: [kernel: RegExp, bytes: number][] = [
    [/^linear_16x8_(FLOAT16|BFLOAT16)$/, FEW_ROWS_BYTES],
    ...[...WIDE_TILES.halves.filter(({ together }) => together === 1), ...TILES, ...JOINED_TILES].map(
      ({ kernel, sharedBytes }): [RegExp, number] => [new RegExp(`^${kernel}_`), sharedBytes],
    ),
    [/^gated_norm$/, bytesOf(gatedNorm(24_000))],
    [/^linear_gated_\d+_(FLOAT16|BFLOAT16)$/, bytesOf(gatedNorm(4096), product('FLOAT16', 4096))],
    [/^linear_gated_long_\d+_(FLOAT16|BFLOAT16)$/, bytesOf(gatedNorm(8192), product('FLOAT16', 8192))],
    [/^linear_gated_(?!.*FLOAT16$)/, bytesOf(gatedNorm(8192), product('Q8_0', 8192))],
    [/^linear_normed_\d+_(FLOAT16|BFLOAT16)$/, bytesOf(norm(4096), product('FLOAT16', 4096))],
    [/^linear_normed_(?!.*FLOAT16$)/, bytesOf(norm(4096), product('Q8_0', 4096))],
    [/^linear_activated_\d+_(FLOAT16|BFLOAT16)$/, bytesOf([split(4096)], product('FLOAT16', 4096))],
    [/^linear_activated_(?!.*FLOAT16$)/, bytesOf([split(4096)], product('Q8_0', 4096))],
  ];
  const seen = new Set<RegExp>();
  for (const [name, declared] of declaredBytes()) {
    const [kernel, bytes] = asked.find(([kernel]) => kernel.test(name)) ?? [undefined, 0];
    if (kernel) seen.add(kernel);
    expect(declared + bytes, name).toBeLessThanOrEqual(NOT_FOR_ALL.test(name) ? MOST_OF_HOPPER : MOST);
  }
  expect(asked.filter(([kernel]) => !seen.has(kernel))).toEqual([]);
});

/** Shared memory that each kernel of the kept PTX declares. */
function declaredBytes(): Map<string, number> {
  const folder = fileURLToPath(new URL('../../../cuda/ptx/', import.meta.url));
  const sum = (text: string, declaration: RegExp) =>
    [...text.matchAll(declaration)].reduce((bytes, [, count]) => bytes + Number(count), 0);
  const kernels = new Map<string, number>();
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.ptx'))) {
    const text = readFileSync(folder + file, 'utf8');
    const shared = sum(text, /^\.shared .*\[(\d+)\];/gm);
    for (const [, name, body] of text.matchAll(/\.visible \.entry (\w+)\((.*?)\n}\n/gs)) {
      kernels.set(name, shared + sum(body, /^\s+\.shared .*\[(\d+)\];/gm));
    }
  }
  return kernels;
}

/** Shared memory that the launch asks for which does the work of these. */
function bytesOf(...launches: readonly (readonly Launch[])[]): number {
  const all = launches.flat();
  const { launch, count } = fuseFirst(all);
  expect(count).toBe(all.length);
  return launch.grid.sharedBytes ?? 0;
}

const rows = (address: number) => ({ address, stride: 0 });

/** What a gated norm of one row is before it is one launch. */
function gatedNorm(C: number): Launch[] {
  const grid = { blocks: [1] as const, threads: 256 };
  return [
    { name: 'elementwise', grid, parameters: { kind: 3, x: rows(1), y: rows(2), out: rows(3), T: 1, C } },
    {
      name: 'group_square_sums',
      grid,
      parameters: { v: rows(3), out: rows(4), groups: 1, groupSize: C, firstColumn: 0, C },
    },
    {
      name: 'scale_by_group_norm',
      grid,
      parameters: {
        ...{ v: rows(3), squareSums: rows(4), weight: rows(5), out: rows(6), hasWeight: 1 },
        ...{ T: 1, C, groupSize: C, firstColumn: 0, count: C, eps: 1e-5 },
      },
    },
    split(C),
  ] as unknown as Launch[];
}

function norm(C: number): Launch[] {
  const parameters = { x: rows(1), weight: rows(5), out: rows(6), C, eps: 1e-5, hasAddend: 0 };
  return [{ name: 'rms_norm', grid: { blocks: [1], threads: 256 }, parameters }, split(C)] as unknown as Launch[];
}

function split(C: number): Launch {
  const parameters = { x: rows(6), K: C, out: 7, factors: 8, padded: C, kind: 1 };
  return { name: 'split_rows', grid: { blocks: [1], threads: 256 }, parameters } as unknown as Launch;
}

function product(format: 'FLOAT16' | 'Q8_0', K: number): Launch[] {
  const isFloat16 = format === 'FLOAT16';
  const [sharedBytes, rowBytes] = isFloat16 ? [FEW_ROWS_BYTES, 2 * K] : [undefined, (34 * K) / 32];
  return [
    {
      name: `linear_16x8_${format}`,
      grid: { blocks: [640], threads: 256, sharedBytes },
      parameters: { x: 7, out: rows(9), rowBytes, T: 1, K, N: 10_240, convChannels: 0, hasAddend: 0 },
    },
  ] as unknown as Launch[];
}

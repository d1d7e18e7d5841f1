import { readdirSync } from 'node:fs';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { DEFAULT_LAUNCH } from '../../../src/backends/webgpu/launch/default.ts';
import type { LaunchParameters } from '../../../src/backends/webgpu/launch/launch-parameters.ts';
import {
  expandShader,
  type ShaderConstants,
  type ShaderText,
} from '../../../src/backends/webgpu/shaders/shader-text.ts';
import { SHADER_TEXTS } from '../../../src/backends/webgpu/shaders/shaders.generated.ts';
import { BLOCK_FORMATS, type BlockFormat } from '../../../src/tensor/block-formats.ts';
import { WEIGHT_DTYPES } from '../../../src/tensor/dtype.ts';
import { KV_CACHE_DTYPES } from '../../../src/tensor/kv-cache-dtype.ts';
import { FLOAT32_STATES } from '../../../src/tensor/state-dtype.ts';
import { need } from '../../needs/needs.ts';
import { NullGpu, NVIDIA } from '../../null-gpu.ts';
import { few } from '../../runs.ts';
import { CONFIGS, DEVICES, prepareModel, prepareOperations, wide } from './shader-plans.ts';

vi.setConfig({ testTimeout: 900_000 });

/** What the backend is told to lay kernels out by. */
const launch = vi.hoisted(() => ({ current: undefined as LaunchParameters | undefined }));
vi.mock('../../../src/backends/webgpu/launch/choose-launch.ts', () => ({
  launchParametersFor: () => launch.current,
}));

/** What is to be taken for exact on the null device, which computes nothing. */
const exact = vi.hoisted(() => ({ current: { widens: false, narrows: false } }));
vi.mock('../../../src/backends/webgpu/device/float16-conversions.ts', async (original) => {
  const module = await original<typeof import('../../../src/backends/webgpu/device/float16-conversions.ts')>();
  const findExactFloat16 = async (device: GPUDevice) => {
    await module.findExactFloat16(device);
    return exact.current;
  };
  return { ...module, findExactFloat16 };
});

/** Every kernel that any of these tests has compiled. */
const compiled = new Set<string>();
let gpu: NullGpu | undefined;

const GROUPS = [1, 2, 8];
const BLOCKS = Object.keys(BLOCK_FORMATS) as BlockFormat[];

const SHORT_STATES = (['float16', 'bfloat16'] as const).flatMap((dtype) =>
  (['nearest', 'stochastic'] as const).map((rounding) => ({ dtype, rounding })),
);

const LAUNCH_FILES = await launchFiles();

describe.runIf(need('dawn'))('every variant of every shader compiles', () => {
  afterEach(() => {
    for (const kernel of gpu?.kernels ?? []) compiled.add(kernel);
    gpu?.uninstall();
    gpu = undefined;
  });

  describe.each(Object.entries(DEVICES))('on a device %s', (_, pretence) => {
    const known = new Set<string>();

    test.each(Object.keys(CONFIGS))('%s', async (model) => {
      gpu = await NullGpu.install(pretence, known);
      launch.current = DEFAULT_LAUNCH;
      // Two have linear layers of every kind; the others are there for their own operations.
      const dtypes = ['mamba2', 'wide'].includes(model) ? WEIGHT_DTYPES : (['float32', 'float16'] as const);
      for (const dtype of dtypes) await prepareModel(CONFIGS[model], dtype);
    });

    test.each(SHORT_STATES)('states in $dtype, rounded $rounding', async (storage) => {
      gpu = await NullGpu.install(pretence, known);
      launch.current = DEFAULT_LAUNCH;
      for (const is of [false, true]) {
        exact.current = { widens: is, narrows: is };
        for (const model of ['mamba2', 'wide']) await prepareModel(CONFIGS[model], 'float32', storage);
      }
    });

    test.each(KV_CACHE_DTYPES)('keys and values in %s', async (kvCacheDtype) => {
      gpu = await NullGpu.install(pretence, known);
      launch.current = DEFAULT_LAUNCH;
      await prepareModel(CONFIGS.bamba, 'float32', FLOAT32_STATES, kvCacheDtype);
    });

    test('what no model does', async () => {
      gpu = await NullGpu.install(pretence, known);
      launch.current = DEFAULT_LAUNCH;
      for (const dtype of [...WEIGHT_DTYPES, ...BLOCKS]) await prepareOperations(dtype);
    });
  });

  const known = new Set<string>();

  describe.each(LAUNCH_FILES)('laid out by launch/%s', (_, parameters) => {
    // The kernels do not depend on the format of blocks but for the text that reads eight weights.
    test.each(few(['int4', 'float16', 'Q5_K', 'float32', 'bfloat16', 'int8'] as const, 2))('%s', async (dtype) => {
      gpu = await NullGpu.install(NVIDIA, known);
      for (const [i, variation] of oneEntryEach(parameters).entries()) {
        launch.current = variation;
        // All numbers of groups with the parameters themselves, and one with each variation, in turn.
        for (const groups of i === 0 ? GROUPS : [GROUPS[i % GROUPS.length]]) await prepareModel(wide(groups), dtype);
        await prepareOperations(dtype);
        gpu.collect();
      }
      expect([...gpu.kernels].some((kernel) => kernel.startsWith('linear-matrix '))).toBe(dtype !== 'float32');
    });

    test('states of 16 bits', async () => {
      gpu = await NullGpu.install(NVIDIA, known);
      exact.current = { widens: true, narrows: true };
      for (const entry of parameters.shortStateUpdate) {
        launch.current = { ...parameters, shortStateUpdate: [entry] };
        for (const storage of SHORT_STATES) await prepareModel(wide(2), 'float16', storage);
      }
    });
  });
});

describe.runIf(need('dawn'))('what these tests cover', () => {
  test('is every line of every shader', () => {
    const uncovered = new Set<string>();
    const tagged = Object.fromEntries(
      Object.entries(SHADER_TEXTS).map(([name, text]) => [name, tag(text, lineNames(name, uncovered))]),
    );
    for (const kernel of compiled) {
      const [shader, ...constants] = kernel.split(' ');
      const code = expandShader(shader, tagged, Object.fromEntries(constants.map(readConstant)));
      for (const [line] of code.matchAll(/@\S+:\d+$/gm)) uncovered.delete(line);
    }
    expect([...uncovered]).toEqual([]);
  });
});

/** Every set of launch parameters in launch/, by file. */
async function launchFiles(): Promise<[file: string, parameters: LaunchParameters][]> {
  const folder = new URL('../../../src/backends/webgpu/launch/', import.meta.url);
  const files = readdirSync(folder).filter((file) => file !== 'choose-launch.ts' && file !== 'launch-parameters.ts');
  const modules = await Promise.all(files.map((file) => import(/* @vite-ignore */ new URL(file, folder).href)));
  return files.flatMap((file, i) =>
    Object.values(modules[i]).map((parameters) => [file, parameters as LaunchParameters]),
  );
}

/** The parameters, and for each entry of their lists the parameters with that one alone, for whatever sizes. */
function oneEntryEach(parameters: LaunchParameters): LaunchParameters[] {
  const variations = Object.entries(parameters).flatMap(([key, value]) => {
    if (!Array.isArray(value)) return [];
    return value.map((entry) => ({ ...parameters, [key]: [withoutMinimums(entry)] }));
  });
  return [parameters, ...variations];
}

function withoutMinimums(entry: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(entry).map(([name, value]) => [name, name.startsWith('min') ? 0 : value]));
}

function isCode(line: string): boolean {
  return line.trim() !== '' && !/^\s*\/\//.test(line);
}

/** Gives each line of a text a name of its own, and notes it in `all`. */
function lineNames(name: string, all: Set<string>): () => string {
  let count = 0;
  return () => {
    const line = `@${name}:${++count}`;
    all.add(line);
    return line;
  };
}

/** The text with a name after each line of code. */
function tag(text: ShaderText, next: () => string): ShaderText {
  return text.map((node) => {
    if (typeof node === 'string') return isCode(node) ? `${node} // ${next()}` : node;
    if ('parts' in node) {
      return isCode(node.parts.join(''))
        ? { parts: [...node.parts.slice(0, -1), `${node.parts.at(-1)} // ${next()}`] }
        : node;
    }
    if ('include' in node) return node;
    if ('for' in node) return { ...node, lines: tag(node.lines, next) };
    return { ...node, lines: tag(node.lines, next), otherwise: tag(node.otherwise, next) };
  });
}

function readConstant(text: string): [string, ShaderConstants[string]] {
  const [name, value] = text.split('=');
  if (value === 'true' || value === 'false') return [name, value === 'true'];
  return [name, /^\d+$/.test(value) ? Number(value) : value];
}

import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm } from 'node:fs/promises';
import { arch, availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { ModelShape } from '../src/bench/model-shapes.ts';
import { median } from '../src/bench/spread.ts';
import { run, say } from './child-process.ts';
import { cudaArchitecture } from './gpu.ts';
import type { Device, Machine } from './machine.ts';
import type { Peer } from './peer.ts';
import type { ProcessorKind } from './processor.ts';
import { isRandomQuantization, parameterCount, writeRandomGguf, writeSyntheticGguf } from './synthetic-gguf.ts';
import { type DType, decodeName, isQuantization, prefillName, type Rates, type Workload } from './workload.ts';

const BUILD = join(import.meta.dirname, '.build');
const MODELS = join(BUILD, 'models');
const PACKAGE = join(import.meta.dirname, 'node_modules', 'node-llama-cpp', 'llama');
const PROGRAMS = ['llama-bench', 'llama-batched-bench', 'llama-quantize'];
const NO_AMX = '-mno-amx-tile -mno-amx-int8 -mno-amx-bf16';
/** Settings of the build: in one file, without libraries that only downloads need. */
const CMAKE_OPTIONS = [
  '-DCMAKE_BUILD_TYPE=Release',
  '-DLLAMA_CURL=OFF',
  '-DLLAMA_OPENSSL=OFF',
  '-DBUILD_SHARED_LIBS=OFF',
  '-DLLAMA_BUILD_TESTS=OFF',
  '-DLLAMA_BUILD_EXAMPLES=OFF',
  '-DLLAMA_BUILD_SERVER=OFF',
  // Its AMX kernels read past quantised matrices whose rows are no multiple of 32, as Mamba-2's are, and crash.
  ...(arch() === 'x64' ? [`-DCMAKE_C_FLAGS=${NO_AMX}`, `-DCMAKE_CXX_FLAGS=${NO_AMX}`] : []),
];
/** Instructions of the processor that it may use: all of this machine's, or those of one with AVX2 only. */
const INSTRUCTIONS: Readonly<Record<ProcessorKind, readonly string[]>> = {
  native: ['-DGGML_NATIVE=ON'],
  avx2: [
    '-DGGML_NATIVE=OFF',
    ...['SSE42', 'AVX', 'AVX2', 'FMA', 'F16C', 'BMI2'].map((name) => `-DGGML_${name}=ON`),
    ...['AVX512', 'AVX512_VNNI', 'AVX_VNNI', 'AMX_TILE', 'AMX_INT8', 'AMX_BF16'].map((name) => `-DGGML_${name}=OFF`),
  ],
};
/** Dtypes that people run on such a device. */
const DEFAULT_DTYPES: Readonly<Record<Device, readonly DType[]>> = {
  cpu: ['float32', 'bfloat16', 'int8', 'int4'],
  cuda: ['float16', 'Q8_0', 'Q4_K_M'],
};
/** Before the steps of several sequences that are measured. */
const SHORT_PROMPT = 8;
/** Tokens of a prompt that the GPU gets at once: its own default, and as many as mamba2 does. The quicker one counts. */
const GPU_STEPS = '512,2048';

const FORMATS = {
  float32: 'F32',
  float16: 'F16',
  bfloat16: 'BF16',
  int8: 'Q8_0',
  int4: 'Q4_0',
  Q4_K_M: 'Q4_K_M',
  Q8_0: 'Q8_0',
  Q6_K: 'Q6_K',
  Q5_K_M: 'Q5_K_M',
  Q4_0: 'Q4_0',
  nvfp4: 'NVFP4',
} as const satisfies Record<DType, string>;

/** llama.cpp's own benchmarks, built for a machine from the source that node-llama-cpp carries. */
export async function llamaCpp(machine: Machine): Promise<Peer> {
  const { release, bin } = await build(machine);
  return {
    name: 'llama.cpp',
    version: release,
    formats: FORMATS,
    defaultDTypes: (shape) => DEFAULT_DTYPES[machine.device].filter((dtype) => dtype !== 'float16' || !isLarge(shape)),
    prepare: async (shape, dtype) => {
      const path = await prepareModel(bin, shape, dtype);
      return isQuantization(dtype) ? path : undefined;
    },
    run: async (dtype, workload) => {
      return runBenchmarks(bin, await prepareModel(bin, workload.shape, dtype), workload, machine.device);
    },
  };
}

/** llama.cpp's source, which node-llama-cpp carries as a bundle of git. → its release and folder */
export async function llamaCppSource(): Promise<{ release: string; source: string }> {
  const bundle = join(PACKAGE, 'gitRelease.bundle');
  if (!existsSync(bundle)) throw new Error(`There is no '${bundle}'. Run 'npm install' in bench/ first.`);
  const { tag: release } = JSON.parse(await readFile(join(PACKAGE, 'llama.cpp.info.json'), 'utf8'));
  const source = join(BUILD, `llama.cpp-${release}`);
  await mkdir(BUILD, { recursive: true });
  if (!existsSync(source)) await run('git', ['clone', '--quiet', bundle, source]);
  return { release, source };
}

/** Once per release and kind of machine. → it and the folder of its programs */
export async function build(
  machine: Machine = { device: 'cpu', kind: 'native' },
): Promise<{ release: string; bin: string }> {
  const { release, source } = await llamaCppSource();
  const { name, options } = buildFor(machine);
  const folder = join(source, name);
  const bin = join(folder, 'bin');
  if (PROGRAMS.every((program) => existsSync(join(bin, program)))) return { release, bin };
  for (const tool of ['git', 'cmake', 'g++']) {
    await requireTool(tool, 'On Debian or Ubuntu: apt-get install -y cmake g++ git');
  }
  if (machine.device === 'cuda') {
    await requireTool('nvcc', "Install NVIDIA's CUDA toolkit with cuBLAS, and put its folder bin on the PATH.");
  }
  say(`building llama.cpp ${release} in ${name}, which takes some minutes`);
  await run('cmake', ['-S', source, '-B', folder, ...CMAKE_OPTIONS, ...options]);
  await run('cmake', ['--build', folder, '-j', `${availableParallelism()}`, '--target', ...PROGRAMS]);
  return { release, bin };
}

/** CMake's options for a machine, and the folder of what they build. */
export function buildFor(machine: Machine): { name: string; options: readonly string[] } {
  if (machine.device === 'cpu') {
    const { kind } = machine;
    return { name: kind === 'native' ? 'build' : `build-${kind}`, options: INSTRUCTIONS[kind] };
  }
  const architecture = cudaArchitecture(machine.gpu);
  return {
    name: `build-cuda-${architecture}`,
    // NCCL is for several GPUs.
    options: [
      ...[...INSTRUCTIONS.native, '-DGGML_CUDA=ON', '-DGGML_CUDA_NCCL=OFF'],
      `-DCMAKE_CUDA_ARCHITECTURES=${architecture}`,
    ],
  };
}

async function requireTool(tool: string, advice: string): Promise<void> {
  await run(tool, ['--version']).catch(() => {
    throw new Error(`'${tool}' is missing. ${advice}`);
  });
}

/** Makes the model's file in one dtype unless it is there. → its path */
async function prepareModel(bin: string, shape: ModelShape, dtype: DType): Promise<string> {
  const path = join(MODELS, `${shape}-${FORMATS[dtype]}.gguf`);
  if (existsSync(path)) return path;
  await mkdir(MODELS, { recursive: true });
  // Under another name until it is whole.
  const partial = `${path}.partial`;
  say(`writing ${path}`);
  const format = FORMATS[dtype];
  if (format === 'F32' || format === 'F16' || format === 'BF16') {
    await writeSyntheticGguf(partial, shape, format);
    // llama-quantize does not make NVFP4: random blocks take as long.
  } else if (isRandomQuantization(format) && (format === 'NVFP4' || isLarge(shape))) {
    await writeRandomGguf(partial, shape, format);
  } else {
    const whole = await prepareModel(bin, shape, 'bfloat16');
    await run(join(bin, 'llama-quantize'), [whole, partial, format]);
  }
  await rename(partial, path);
  return path;
}

/** Whether floats of all weights would take minutes to write and to quantise. */
function isLarge(shape: ModelShape): boolean {
  return parameterCount(shape) > 2e9;
}

/** Forgets the models' files, which are large. */
export async function removeModels(): Promise<void> {
  await rm(MODELS, { recursive: true, force: true });
}

/** Both programs warm up before they measure. */
async function runBenchmarks(bin: string, model: string, workload: Workload, device: Device): Promise<Rates> {
  const { sequences } = workload;
  const rates = new Map<string, number>();
  const single: SingleRun[] = JSON.parse(await run(join(bin, 'llama-bench'), singleArguments(model, workload, device)));
  for (const { n_prompt, samples_ts } of single) {
    const name = n_prompt > 0 ? prefillName(n_prompt) : decodeName(1);
    rates.set(name, Math.max(median(samples_ts), rates.get(name) ?? 0));
  }
  const batched = await run(join(bin, 'llama-batched-bench'), batchedArguments(model, workload, device));
  const line = batched.split('\n').findLast((text) => text.includes('"speed_tg"'));
  if (line === undefined) throw new Error(`llama-batched-bench measured nothing:\n${batched}`);
  rates.set(decodeName(sequences), JSON.parse(line).speed_tg);
  return rates;
}

/** A line of llama-bench: tokens of the prompt, 0 where it decodes, and tokens per second of each repetition. */
interface SingleRun {
  readonly n_prompt: number;
  readonly samples_ts: readonly number[];
}

/** What llama-bench is called with: prompts, and one sequence. */
export function singleArguments(model: string, workload: Workload, device: Device): string[] {
  const { promptTokens, generateTokens, repetitions } = workload;
  return [
    ...[...commonArguments(model, workload, device), '-p', promptTokens.join(','), '-n', `${generateTokens}`],
    ...['-r', `${repetitions}`, '-o', 'json', ...(device === 'cuda' ? ['-ub', GPU_STEPS] : [])],
  ];
}

/** What llama-batched-bench is called with. It warms up with one sequence only: on a GPU the last of two runs counts. */
export function batchedArguments(model: string, workload: Workload, device: Device): string[] {
  const { generateTokens, sequences } = workload;
  const context = sequences * (SHORT_PROMPT + generateTokens);
  return [
    ...[...commonArguments(model, workload, device), '-c', `${context}`, '-npp', `${SHORT_PROMPT}`],
    ...['-ntg', `${generateTokens}`, '-npl', device === 'cuda' ? `${sequences},${sequences}` : `${sequences}`],
    ...['--output-format', 'jsonl'],
  ];
}

/** All layers on the first GPU, where there is one. */
function commonArguments(model: string, { threads }: Workload, device: Device): string[] {
  return ['-m', model, '-t', `${threads}`, ...(device === 'cuda' ? ['-ngl', '99', '-sm', 'none'] : [])];
}

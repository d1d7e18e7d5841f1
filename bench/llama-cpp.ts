import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm } from 'node:fs/promises';
import { arch, availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { ModelShape } from '../src/bench/model-shapes.ts';
import { run, say } from './child-process.ts';
import type { Peer } from './peer.ts';
import type { ProcessorKind } from './processor.ts';
import { writeRandomGguf, writeSyntheticGguf } from './synthetic-gguf.ts';
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
/** Instructions that it may use: all of this machine's processor, or those of one with AVX2 only. */
const INSTRUCTIONS: Readonly<Record<ProcessorKind, readonly string[]>> = {
  native: ['-DGGML_NATIVE=ON'],
  avx2: [
    '-DGGML_NATIVE=OFF',
    ...['SSE42', 'AVX', 'AVX2', 'FMA', 'F16C', 'BMI2'].map((name) => `-DGGML_${name}=ON`),
    ...['AVX512', 'AVX512_VNNI', 'AVX_VNNI', 'AMX_TILE', 'AMX_INT8', 'AMX_BF16'].map((name) => `-DGGML_${name}=OFF`),
  ],
};
/** Before the steps of several sequences that are measured. */
const SHORT_PROMPT = 8;

const FORMATS = {
  float32: 'F32',
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

/** llama.cpp's own benchmarks, built for a processor from the source that node-llama-cpp carries. */
export async function llamaCpp(processor: ProcessorKind): Promise<Peer> {
  const { release, bin } = await build(processor);
  return {
    name: 'llama.cpp',
    version: release,
    formats: FORMATS,
    prepare: async (shape, dtype) => {
      const path = await prepareModel(bin, shape, dtype);
      return isQuantization(dtype) ? path : undefined;
    },
    run: async (dtype, workload) => runBenchmarks(bin, await prepareModel(bin, workload.shape, dtype), workload),
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

/** Once per release and processor. → it and the folder of its programs */
export async function build(processor: ProcessorKind = 'native'): Promise<{ release: string; bin: string }> {
  const { release, source } = await llamaCppSource();
  const folder = join(source, processor === 'native' ? 'build' : `build-${processor}`);
  const bin = join(folder, 'bin');
  if (PROGRAMS.every((program) => existsSync(join(bin, program)))) return { release, bin };
  for (const tool of ['git', 'cmake', 'g++']) {
    await run(tool, ['--version']).catch(() => {
      throw new Error(`'${tool}' is missing. On Debian or Ubuntu: apt-get install -y cmake g++ git`);
    });
  }
  say(`building llama.cpp ${release} (${processor}), which takes some minutes`);
  await run('cmake', ['-S', source, '-B', folder, ...CMAKE_OPTIONS, ...INSTRUCTIONS[processor]]);
  await run('cmake', ['--build', folder, '-j', `${availableParallelism()}`, '--target', ...PROGRAMS]);
  return { release, bin };
}

/** Makes the model's file in one dtype unless it is there. → its path */
async function prepareModel(bin: string, shape: ModelShape, dtype: DType): Promise<string> {
  const path = join(MODELS, `${shape}-${FORMATS[dtype]}.gguf`);
  if (existsSync(path)) return path;
  await mkdir(MODELS, { recursive: true });
  // Under another name until it is whole.
  const partial = `${path}.partial`;
  say(`writing ${path}`);
  if (dtype === 'float32' || dtype === 'bfloat16') {
    await writeSyntheticGguf(partial, shape, FORMATS[dtype]);
  } else if (dtype === 'nvfp4') {
    // llama-quantize does not make it: random blocks take as long.
    await writeRandomGguf(partial, shape, 'NVFP4');
  } else {
    const whole = await prepareModel(bin, shape, 'bfloat16');
    await run(join(bin, 'llama-quantize'), [whole, partial, FORMATS[dtype]]);
  }
  await rename(partial, path);
  return path;
}

/** Forgets the models' files, which are large. */
export async function removeModels(): Promise<void> {
  await rm(MODELS, { recursive: true, force: true });
}

/** Both programs warm up before they measure. */
async function runBenchmarks(bin: string, model: string, workload: Workload): Promise<Rates> {
  const { threads, promptTokens, generateTokens, sequences } = workload;
  const rates = new Map<string, number>();
  const single = await run(join(bin, 'llama-bench'), [
    ...['-m', model, '-t', `${threads}`, '-p', promptTokens.join(','), '-n', `${generateTokens}`],
    ...['-r', '1', '-o', 'json'],
  ]);
  for (const { n_prompt, avg_ts } of JSON.parse(single) as { n_prompt: number; avg_ts: number }[]) {
    rates.set(n_prompt > 0 ? prefillName(n_prompt) : decodeName(1), avg_ts);
  }
  const context = sequences * (SHORT_PROMPT + generateTokens);
  const batched = await run(join(bin, 'llama-batched-bench'), [
    ...['-m', model, '-t', `${threads}`, '-c', `${context}`, '-npp', `${SHORT_PROMPT}`, '-ntg', `${generateTokens}`],
    ...['-npl', `${sequences}`, '--output-format', 'jsonl'],
  ]);
  const line = batched.split('\n').find((text) => text.includes('"speed_tg"'));
  if (line === undefined) throw new Error(`llama-batched-bench measured nothing:\n${batched}`);
  rates.set(decodeName(sequences), JSON.parse(line).speed_tg);
  return rates;
}

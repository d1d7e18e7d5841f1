// Makes one TypeScript module of the CUDA kernels: the PTX that cuda/ptx holds, compressed, and of each kernel in cuda/*.cu the
// module that has it and the layout of its parameters, with types of what a launch must give it. Needs no CUDA.
//
// Every kernel takes one struct, whose members are one to a line: `type name;`.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { brotliCompressSync, constants } from 'node:zlib';
import { CUDA, cudaModules, PTX } from './cuda-sources.mjs';

const TARGET = 'src/backends/cuda/kernels/kernels.generated.ts';

/** Kinds of members: bytes, and the type of what the host gives. */
const KINDS = {
  rows: { bytes: 16, align: 8, type: 'DeviceRows | undefined' },
  pointer: { bytes: 8, align: 8, type: 'number | undefined' },
  int64: { bytes: 8, align: 8, type: 'number' },
  int32: { bytes: 4, align: 4, type: 'number' },
  float32: { bytes: 4, align: 4, type: 'number' },
};

const modules = cudaModules();
const kernels = new Map();
for (const { name, source, format } of modules) {
  const text = readFileSync(source, 'utf8');
  const awaiting = awaitingKernels(readFileSync(`${PTX}${name}.ptx`, 'utf8'));
  for (const [, plain, templated, params] of text.matchAll(
    /^extern "C" __global__ void __launch_bounds__\([\w, ]+\) (?:(\w+)|OF_FORMAT\((\w+)\))\(const (\w+) p\)/gm,
  )) {
    if ((plain ?? templated) === undefined) throw new Error(`${source}: a kernel without a name.`);
    const kernel = plain ?? `${templated}_${format}`;
    kernels.set(kernel, { module: name, params, awaits: awaiting.has(kernel) });
  }
}
const structs = new Map(
  readdirSync(CUDA).flatMap((file) => {
    if (!/\.cuh?$/.test(file)) return [];
    const text = readFileSync(CUDA + file, 'utf8');
    return [...text.matchAll(/^struct (\w+Params) \{\n([^}]*)\};/gm)].map(([, name, body]) => [
      name,
      layoutOf(name, body),
    ]);
  }),
);

/** Kernels of a module that wait for the one before them: see await_previous in common.cuh. */
function awaitingKernels(ptx) {
  const [, ...entries] = ptx.split(/^\.visible \.entry /m);
  return new Set(entries.filter((text) => text.includes('griddepcontrol.wait')).map((text) => /^\w+/.exec(text)[0]));
}

/** Members with their places, as the compiler lays them out. */
function layoutOf(name, body) {
  let offset = 0;
  const members = body.split('\n').flatMap((line) => {
    if (line.trim() === '' || line.trim().startsWith('//')) return [];
    const [, type, member] = /^\s*(.*?)(\w+);(?:\s*\/\/.*)?$/.exec(line) ?? fail(name, line);
    const kind = kindOf(type.trim()) ?? fail(name, line);
    const { bytes, align } = KINDS[kind];
    const at = Math.ceil(offset / align) * align;
    offset = at + bytes;
    return [{ name: member, kind, offset: at }];
  });
  return { members, bytes: Math.ceil(offset / 8) * 8 };
}

function kindOf(type) {
  if (type.endsWith('*')) return 'pointer';
  return { Rows: 'rows', 'long long': 'int64', int: 'int32', float: 'float32' }[type];
}

function fail(name, line) {
  throw new Error(`${name}: '${line.trim()}' is no member of a kind that the host can give.`);
}

const ptx = modules.map(({ name }) => ({ name, text: readFileSync(`${PTX}${name}.ptx`) }));
// All modules are one stream, with a window that holds most of them, because those of one source differ little: three fifths of
// what they take one by one. Quality 9 takes two seconds; 11 would save a third more and take 48.
const compressed = brotliCompressSync(Buffer.concat(ptx.map(({ text }) => text)), {
  params: { [constants.BROTLI_PARAM_QUALITY]: 9, [constants.BROTLI_PARAM_LGWIN]: 24 },
});
const types = [...structs].map(([name, { members }]) => {
  return `export interface ${name} {\n${members.map(({ name, kind }) => `  readonly ${name}: ${KINDS[kind].type};\n`).join('')}}\n`;
});

writeFileSync(
  TARGET,
  `// Made by scripts/build-cuda.mjs from cuda/.
import type { DeviceRows, ParameterLayout } from './parameters.ts';

${types.join('\n')}
/** The parameters of each kernel. */
export interface KernelParameters {
${[...kernels].map(([name, { params }]) => `  readonly ${name}: ${params};\n`).join('')}}

export type KernelName = keyof KernelParameters;

/** Layouts of the structs of parameters. */
const LAYOUTS = {
${[...structs].map(([name, layout]) => `  ${name}: ${JSON.stringify(layout)},\n`).join('')}} as const satisfies Readonly<Record<string, ParameterLayout>>;

interface Kernel {
  readonly module: string;
  readonly layout: ParameterLayout;
  /** Whether it waits for the kernel before it: see launch/overlap.ts. */
  readonly awaits: boolean;
}

/** The module that has each kernel, and the layout of its parameters. */
export const KERNELS: Readonly<Record<KernelName, Kernel>> = {
${[...kernels].map(([name, { module, params, awaits }]) => `  ${name}: { module: '${module}', layout: LAYOUTS.${params}, awaits: ${awaits} },\n`).join('')}};

/** Bytes of each module's PTX, in the order in which PTX has them. */
export const MODULE_BYTES: Readonly<Record<string, number>> = {
${ptx.map(({ name, text }) => `  '${name}': ${text.length},\n`).join('')}};

/** PTX of all modules, one after another, compressed by brotli, in base64. */
export const PTX: string = '${compressed.toString('base64')}';
`,
);

// Compiles kernels/ (AssemblyScript) with and without relaxed SIMD and writes both as base64 into one TypeScript module,
// with the type of what they export: that way the package loads them alike in Node, in browsers, in workers and through
// bundlers, and a call that does not fit a kernel is a type error. The same for the kernels of `mamba2 bench`, in a module
// of their own: programs do not load them.
import { readFileSync, writeFileSync } from 'node:fs';
import asc from 'assemblyscript/asc';

// Bindings are asked for because of the declarations among them.
const OPTIONS = ['-O3', '--runtime', 'stub', '--importMemory', '--noAssert', '--bindings', 'raw'];

/** Compiled modules, by the source file that exports their kernels. */
const MODULES = {
  'kernels/index.ts': 'src/backends/cpu/kernels/kernels.generated.ts',
  'kernels/bench/index.ts': 'src/bench/kernels.generated.ts',
};

/** Bytes where a module keeps its constants: modules share a memory, whose first 64 KB are theirs. */
const MEMORY = { begin: 1024, end: 16384 };

/** A module for each format, from a source that is written for one of them. */
const BLOCKS = {
  source: 'kernels/blocks/index.ts',
  target: 'src/backends/cpu/kernels/block-kernels.generated.ts',
  formats: ['Q8_0', 'Q4_0', 'Q4_K', 'Q5_K', 'Q6_K', 'MXFP4', 'NVFP4', 'INT4_G32', 'INT4_G64', 'INT4_G128', 'INT8_G128'],
  writtenFor: 'Q8_0 as Format',
  memoryEach: 2048,
};

/** @param source file, or its name and text. */
async function compile(source, features, memory = MEMORY, text = readFileSync(source, 'utf8')) {
  const files = new Map();
  const limits = ['--memoryBase', String(memory.begin), '--lowMemoryLimit', String(memory.end)];
  const options = [...limits, ...features.flatMap((feature) => ['--enable', feature])];
  const { error, stderr } = await asc.main([source, ...OPTIONS, ...options, '-o', 'kernels.wasm'], {
    readFile: (file) => (file === source ? text : readSource(file)),
    writeFile: (file, contents) => files.set(file, contents),
  });
  const messages = stderr.toString();
  if (error || messages) {
    console.error(messages);
    process.exit(1);
  }
  return { base64: Buffer.from(files.get('kernels.wasm')).toString('base64'), declarations: files.get('kernels.d.ts') };
}

function readSource(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    // The compiler looks for a module in several places.
    return null;
  }
}

/** The exported functions as members of an object type. Flags are numbers, because that is what WebAssembly takes. */
function members(declarations) {
  const functions = [...declarations.matchAll(/export function (\w+\(.*\): \w+;)/g)].map(([, member]) => member);
  return functions.map((member) => `  ${member.replaceAll(': boolean', ': number')}\n`).join('');
}

for (const [source, target] of Object.entries(MODULES)) {
  const simd = await compile(source, ['simd']);
  const relaxed = await compile(source, ['simd', 'relaxed-simd']);
  writeFileSync(
    target,
    `// Made by scripts/build-kernels.mjs from ${source.replace('index.ts', '')}.
export const SIMD = '${simd.base64}';
export const RELAXED_SIMD = '${relaxed.base64}';

/** Exports of ${source}. Addresses and strides are in bytes, counts in elements, flags 0 or 1. */
export type Kernels = {
${members(simd.declarations)}};
`,
  );
}

const modules = {};
let declarations;
for (const [i, format] of BLOCKS.formats.entries()) {
  const text = readFileSync(BLOCKS.source, 'utf8').replace(BLOCKS.writtenFor, `${format} as Format`);
  const begin = MEMORY.end + i * BLOCKS.memoryEach;
  const memory = { begin, end: begin + BLOCKS.memoryEach };
  const simd = await compile(BLOCKS.source, ['simd'], memory, text);
  const relaxed = await compile(BLOCKS.source, ['simd', 'relaxed-simd'], memory, text);
  modules[format] = { simd: simd.base64, 'relaxed-simd': relaxed.base64 };
  declarations = simd.declarations;
}
writeFileSync(
  BLOCKS.target,
  `// Made by scripts/build-kernels.mjs from ${BLOCKS.source.replace('index.ts', '')}.
/** Modules by format and instruction set. */
export const BLOCK_KERNELS = ${JSON.stringify(modules, null, 2)} as const;

/** Exports of ${BLOCKS.source}. Addresses and strides are in bytes, counts in elements. */
export type BlockKernels = {
${members(declarations)}};
`,
);

// Compiles kernels/ (AssemblyScript) with and without relaxed SIMD and writes both as base64 into one TypeScript module,
// with the type of what they export: that way the package loads them alike in Node, in browsers, in workers and through
// bundlers, and a call that does not fit a kernel is a type error. The same for the kernels of `mamba2 bench`, in a module
// of their own: programs do not load them.
import { writeFileSync } from 'node:fs';
import asc from 'assemblyscript/asc';

// Bindings are asked for because of the declarations among them.
const OPTIONS = [
  '-O3',
  '--runtime',
  'stub',
  '--importMemory',
  '--noAssert',
  '--memoryBase',
  '1024',
  '--bindings',
  'raw',
];

/** Compiled modules, by the source file that exports their kernels. */
const MODULES = {
  'kernels/index.ts': 'src/backends/cpu/kernels/kernels.generated.ts',
  'kernels/bench/index.ts': 'src/bench/kernels.generated.ts',
};

async function compile(source, features) {
  const files = new Map();
  const { error, stderr } = await asc.main(
    [source, ...OPTIONS, ...features.flatMap((feature) => ['--enable', feature]), '-o', 'kernels.wasm'],
    { writeFile: (file, contents) => files.set(file, contents) },
  );
  const messages = stderr.toString();
  if (error || messages) {
    console.error(messages);
    process.exit(1);
  }
  return { base64: Buffer.from(files.get('kernels.wasm')).toString('base64'), declarations: files.get('kernels.d.ts') };
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

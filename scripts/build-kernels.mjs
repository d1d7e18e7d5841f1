// Compiles kernels/ (AssemblyScript) with and without relaxed SIMD and writes both as base64 into one TypeScript module:
// that way the package loads them alike in Node, in browsers, in workers and through bundlers. The same for the kernels
// of `mamba2 bench`, in a module of their own: programs do not load them.
import { writeFileSync } from 'node:fs';
import asc from 'assemblyscript/asc';

const OPTIONS = ['-O3', '--runtime', 'stub', '--importMemory', '--noAssert', '--memoryBase', '1024'];

/** Compiled modules, by the source file that exports their kernels. */
const MODULES = {
  'kernels/index.ts': 'src/backends/cpu/kernels/kernels.generated.ts',
  'kernels/bench/index.ts': 'src/bench/kernels.generated.ts',
};

async function compile(source, name, features) {
  let binary;
  const { error, stderr } = await asc.main(
    [source, ...OPTIONS, ...features.flatMap((feature) => ['--enable', feature]), '-o', 'kernels.wasm'],
    { writeFile: (_file, contents) => (binary = contents) },
  );
  const messages = stderr.toString();
  if (error || messages) {
    console.error(messages);
    process.exit(1);
  }
  return `export const ${name} = '${Buffer.from(binary).toString('base64')}';\n`;
}

for (const [source, target] of Object.entries(MODULES)) {
  const modules = [
    await compile(source, 'SIMD', ['simd']),
    await compile(source, 'RELAXED_SIMD', ['simd', 'relaxed-simd']),
  ];
  writeFileSync(
    target,
    `// Made by scripts/build-kernels.mjs from ${source.replace('index.ts', '')}.\n${modules.join('')}`,
  );
}

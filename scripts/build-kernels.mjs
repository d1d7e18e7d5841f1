// Compiles kernels/ (AssemblyScript) with and without relaxed SIMD and writes both as base64 into one TypeScript module:
// that way the package loads them alike in Node, in browsers, in workers and through bundlers.
import { writeFileSync } from 'node:fs';
import asc from 'assemblyscript/asc';

const OPTIONS = [
  'kernels/index.ts',
  '-O3',
  '--runtime',
  'stub',
  '--importMemory',
  '--noAssert',
  '--memoryBase',
  '1024',
];

async function compile(name, features) {
  let binary;
  const { error, stderr } = await asc.main(
    [...OPTIONS, ...features.flatMap((feature) => ['--enable', feature]), '-o', 'kernels.wasm'],
    { writeFile: (_file, contents) => (binary = contents) },
  );
  const messages = stderr.toString();
  if (error || messages) {
    console.error(messages);
    process.exit(1);
  }
  return `export const ${name} = '${Buffer.from(binary).toString('base64')}';\n`;
}

const modules = [await compile('SIMD', ['simd']), await compile('RELAXED_SIMD', ['simd', 'relaxed-simd'])];
writeFileSync(
  'src/backends/cpu/kernels/kernels.generated.ts',
  `// Made by scripts/build-kernels.mjs from kernels/.\n${modules.join('')}`,
);

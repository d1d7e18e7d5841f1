// Gathers src/backends/webgpu/shaders/*.wgsl in one TypeScript module: that way the package loads them alike in Node, in
// browsers, in workers and through bundlers.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';

const folder = 'src/backends/webgpu/shaders/';
const shaders = readdirSync(folder)
  .filter((file) => file.endsWith('.wgsl'))
  .sort()
  .map((file) => [file.slice(0, -'.wgsl'.length), readFileSync(folder + file, 'utf8')]);

writeFileSync(
  'src/backends/webgpu/shaders.generated.ts',
  `// Made by scripts/build-shaders.mjs from ${folder}.\nexport const SHADERS = ${JSON.stringify(Object.fromEntries(shaders), null, 1)} as const;\n`,
);

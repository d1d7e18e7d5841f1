// Gathers src/backends/webgpu/shaders/**/*.wgsl in one TypeScript module: that way the package loads them alike in Node, in
// browsers, in workers and through bundlers. A shader is known by its file's name, whatever folder it is in.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';

const folder = 'src/backends/webgpu/shaders/';
const shaders = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.wgsl'))
  .map((file) => [basename(file, '.wgsl'), readFileSync(folder + file, 'utf8')])
  .sort(([a], [b]) => (a < b ? -1 : 1));

writeFileSync(
  `${folder}shaders.generated.ts`,
  `// Made by scripts/build-shaders.mjs from ${folder}.\nexport const SHADERS = ${JSON.stringify(Object.fromEntries(shaders), null, 1)} as const;\n`,
);

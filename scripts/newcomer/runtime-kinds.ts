import { type Kind, SAY } from './kind.ts';
import { printed } from './node-kinds.ts';

const MAIN = `import { LLM } from 'mamba2';\n${SAY}console.log(JSON.stringify(await say(LLM, 'tiny-dts')));\n`;

const bun: Kind = {
  name: 'Bun',
  async run(bench) {
    const project = await bench.project({ type: 'module' }, 'bun');
    await project.write({ 'main.js': MAIN });
    return printed(await project.bin('bun', ['main.js']));
  },
};

const deno: Kind = {
  name: 'Deno',
  async run(bench) {
    const project = await bench.project({ type: 'module' }, 'deno');
    await project.write({ 'main.js': MAIN });
    return printed(await project.bin('deno', ['run', '--allow-read', '--allow-env', '--allow-sys', 'main.js']));
  },
};

export const runtimeKinds: readonly Kind[] = [bun, deno];

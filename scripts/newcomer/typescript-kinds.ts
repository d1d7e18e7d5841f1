import type { Kind } from './kind.ts';
import { PROMPT } from './kind.ts';
import { printed } from './node-kinds.ts';

/** Compilers that README names, the oldest first. */
const COMPILERS = ['~5.7.3', '~5.9.3', '^6.0.0', '^7.0.0'];

const LIBRARIES = ['mamba2', 'mamba2/ops'];

/** Settings that README promises, with what may be imported under them. */
const SETTINGS = [
  { lib: ['es2022'], types: [], module: 'nodenext', imports: LIBRARIES },
  { lib: ['es2024'], types: [], module: 'esnext', moduleResolution: 'bundler', imports: LIBRARIES },
  { lib: ['es2023', 'dom'], types: [], module: 'esnext', moduleResolution: 'bundler', imports: LIBRARIES },
  { lib: ['es2023'], types: ['node'], module: 'node16', imports: [...LIBRARIES, 'mamba2/server'] },
  { lib: ['esnext', 'dom'], types: ['node'], module: 'nodenext', imports: [...LIBRARIES, 'mamba2/server'] },
];

const USE = `
import { type GenerateOptions, LLM, type LoadOptions } from 'mamba2';

const load: LoadOptions = { tensorParallelSize: 2, dtype: 'auto', device: 'cpu' };
const options: GenerateOptions = { temperature: 0, maxTokens: 12 };
const llm: LLM = await LLM.load('tiny-dts', load);
let text = '';
for await (const chunk of llm.generate(${JSON.stringify(PROMPT)}, options)) text += chunk.text;
await llm.dispose();
console.log(JSON.stringify(text));
// @ts-expect-error: it is none of the names.
export const wrong: LoadOptions = { dtype: 'int3' };
`;

function kind(version: string): Kind {
  return {
    name: `TypeScript ${version.replace(/^[~^]/, '')}`,
    async run(bench) {
      const project = await bench.project({ type: 'module' }, `typescript@${version}`, '@types/node@22');
      for (const [i, { imports, ...options }] of SETTINGS.entries()) {
        const compilerOptions = { ...options, target: 'es2022', strict: true, skipLibCheck: false, noEmit: true };
        const lines = imports.map((name, n) => `export * as library${n} from '${name}';`);
        await project.write({
          [`check-${i}.ts`]: lines.join('\n'),
          [`tsconfig.${i}.json`]: JSON.stringify({ compilerOptions, files: [`check-${i}.ts`] }),
        });
        await project.bin('tsc', ['-p', `tsconfig.${i}.json`]);
      }
      const compilerOptions = {
        ...{ target: 'es2022', lib: ['es2023'], types: ['node'], module: 'nodenext', outDir: 'dist' },
        ...{ strict: true, exactOptionalPropertyTypes: true, skipLibCheck: false },
      };
      await project.write({ 'main.ts': USE, 'tsconfig.json': JSON.stringify({ compilerOptions, files: ['main.ts'] }) });
      await project.bin('tsc', []);
      return printed(await project.run('node', ['dist/main.js']));
    },
  };
}

export const typescriptKinds: readonly Kind[] = COMPILERS.map(kind);

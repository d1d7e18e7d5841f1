import { type Kind, MAX_TOKENS, PROMPT, SAY } from './kind.ts';

const PRINT = `${SAY}say(LLM, 'tiny-dts').then((text) => console.log(JSON.stringify(text)));\n`;

/** Last line that a program printed. */
export function printed(output: string): string {
  return JSON.parse(output.trim().split('\n').at(-1) ?? '');
}

/** A large request to a server of the project's own, on two ranks. The library is imported before it. */
export const SERVE = `(async () => {
  const llm = await LLM.load('node_modules/mamba2/models/tiny-dts', { tensorParallelSize: 2 });
  const server = await serve({ llm, port: 0, host: '127.0.0.1' });
  const answer = await fetch(server.url + '/v1/completions', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ prompt: ${JSON.stringify(PROMPT)}, max_tokens: ${MAX_TOKENS}, temperature: 0, user: 'x'.repeat(20_000) }),
  });
  const { choices } = await answer.json();
  await server.shutdown();
  await llm.dispose();
  console.log(JSON.stringify(choices[0].text));
})();
`;

const nodeEsm: Kind = {
  name: 'Node, ES modules',
  async run(bench) {
    const project = await bench.project({ type: 'module' });
    await project.write({ 'main.js': `import { LLM } from 'mamba2';\n${PRINT}` });
    return printed(await project.run('node', ['main.js']));
  },
};

const nodeCjs: Kind = {
  name: 'Node, CommonJS by require(esm)',
  async run(bench) {
    const project = await bench.project({});
    await project.write({ 'main.js': `const { LLM } = require('mamba2');\n${PRINT}` });
    return printed(await project.run('node', ['main.js']));
  },
};

const nodeInline: Kind = {
  name: 'Node, a program on the command line',
  async run(bench) {
    const project = await bench.project({});
    return printed(await project.run('node', ['--input-type=module', '-e', `import { LLM } from 'mamba2';\n${PRINT}`]));
  },
};

const commandLine: Kind = {
  name: 'npx mamba2',
  async run(bench) {
    const project = await bench.project({});
    return (
      await project.bin('mamba2', [
        ...['generate', '--prompt', PROMPT, '--max-tokens', `${MAX_TOKENS}`],
        ...['--temperature', '0', '--tensor-parallel-size', '2', '--quiet'],
      ])
    ).replace(/\n$/, '');
  },
};

export const nodeKinds: readonly Kind[] = [nodeEsm, nodeCjs, nodeInline, commandLine];

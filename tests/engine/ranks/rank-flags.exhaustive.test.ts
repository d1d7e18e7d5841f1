import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { nodeWorkerOptions } from '../../../src/distributed/node-worker-options.ts';
import { TINY_DTS } from '../../cli/tiny-dts.ts';
import { GOLDEN } from '../golden-folder.ts';

const LLM_MODULE = new URL('../../../src/engine/llm.ts', import.meta.url).href;
const TWO_RANKS = `
  const { LLM } = await import(${JSON.stringify(LLM_MODULE)});
  const llm = await LLM.load(${JSON.stringify(GOLDEN)}, { tensorParallelSize: 2 });
  const { tokenIds } = await llm.complete([1, 2, 3], { maxTokens: 2, temperature: 0 });
  await llm.dispose();
  console.log('tokens: ' + tokenIds.length);
`;

interface Ended {
  readonly code: number | null;
  readonly output: string;
}

function runNode(args: readonly string[], { env = {}, input = '' } = {}): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { env: { ...process.env, NODE_OPTIONS: undefined, ...env } });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
    child.on('error', reject).on('close', (code) => resolve({ code, output }));
    child.stdin.end(input);
  });
}

describe('two ranks start in a program', () => {
  let folder: string;
  const file = (name: string) => join(folder, name);
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'mamba2-flags-'));
    const onlyMain = "if (!isMainThread) throw new Error('a hook of the program runs in a rank');";
    await writeFile(file('program.mjs'), TWO_RANKS);
    await writeFile(file('hook.cjs'), `const { isMainThread } = require('node:worker_threads'); ${onlyMain}`);
    await writeFile(file('hook.mjs'), `import { isMainThread } from 'node:worker_threads'; ${onlyMain}`);
    await writeFile(file('some.test.mjs'), `import test from 'node:test'; test('ranks', async () => {${TWO_RANKS}});`);
    const limits = '{ maxOldGenerationSizeMb: 64, stackSizeMb: 1 }';
    await writeFile(
      file('thread.mjs'),
      `import { Worker } from 'node:worker_threads';
       new Worker(new URL('./program.mjs', import.meta.url), { env: {}, resourceLimits: ${limits} });`,
    );
  });
  afterAll(() => rm(folder, { recursive: true }));

  const expectTokens = async (ended: Promise<Ended>) => {
    const { code, output } = await ended;
    expect(output).toContain('tokens: 2');
    expect(code).toBe(0);
  };

  test.each([['--input-type=module -e'], ['--input-type=module --eval'], ['--input-type=module-typescript -e']])(
    'given by %s',
    async (flags) => {
      await expectTokens(runNode([...flags.split(' '), TWO_RANKS]));
    },
    60_000,
  );

  test('given by -p', async () => {
    await expectTokens(runNode(['-p', `(async () => {${TWO_RANKS}})()`]));
  }, 60_000);

  test('that comes from standard input', async () => {
    await expectTokens(runNode(['--input-type=module', '-'], { input: TWO_RANKS }));
  }, 60_000);

  test.each([
    ['--require HOOK.cjs --import HOOK.mjs'],
    ['--inspect=0 --stack-size=200'],
    ['--stack-size=60000 --max-old-space-size=200 --title=program'],
    ['--disallow-code-generation-from-strings --frozen-intrinsics --disable-proto=throw'],
    ['--conditions=other --experimental-vm-modules --unhandled-rejections=strict'],
    ['--permission --allow-worker --allow-fs-read *'],
  ])(
    'started with %s',
    async (flags) => {
      const args = flags.split(' ').map((flag) => (flag.startsWith('HOOK') ? file(flag.toLowerCase()) : flag));
      await expectTokens(runNode([...args, file('program.mjs')]));
    },
    60_000,
  );

  test('started with --test', async () => {
    await expectTokens(runNode(['--test', '--test-isolation=none', file('some.test.mjs')]));
  }, 60_000);

  test('whose flags are in NODE_OPTIONS', async () => {
    const NODE_OPTIONS = `--require "${file('hook.cjs')}" --import=${file('hook.mjs')} --no-warnings`;
    await expectTokens(runNode([file('program.mjs')], { env: { NODE_OPTIONS } }));
  }, 60_000);

  test('that is a worker itself', async () => {
    await expectTokens(runNode([file('thread.mjs')]));
  }, 60_000);
});

test('under --watch a long text is encoded on its thread', async () => {
  const program = `
    const { LLM } = await import(${JSON.stringify(LLM_MODULE)});
    const llm = await LLM.load(${JSON.stringify(TINY_DTS)}, { device: 'cpu', tensorParallelSize: 1 });
    const { length } = await llm.encode('a b '.repeat(5000));
    await llm.dispose();
    console.log('long: ' + (length > 5000));
  `;
  // What the watcher sets for its program.
  const args = ['--input-type=module', '-e', program];
  const { code, output } = await runNode(args, { env: { WATCH_REPORT_DEPENDENCIES: '1' } });
  expect(output).toContain('long: true');
  expect(code).toBe(0);
}, 60_000);

describe('nodeWorkerOptions', () => {
  const program = (execArgv: string[], env = {}) => ({ execArgv, env, versions: { ...process.versions } });

  test('passes permissions on, and no other flag', () => {
    const flags = [
      '--permission',
      '--import',
      'tsx',
      '--allow-fs-read',
      '/a b',
      '--allow-fs-write=/c',
      '--allow-worker',
    ];
    const passed = ['--permission', '--allow-fs-read', '/a b', '--allow-fs-write=/c', '--allow-worker'];
    expect(nodeWorkerOptions(program(flags))).toEqual({ execArgv: passed });
  });

  test('keeps the environment but for NODE_OPTIONS, of which permissions stay', () => {
    const NODE_OPTIONS = '--no-warnings --permission  --allow-fs-read="/a \\"b" --require "/c d.cjs"';
    expect(nodeWorkerOptions(program([], { A: '1', NODE_OPTIONS }))).toEqual({
      execArgv: [],
      env: { A: '1', NODE_OPTIONS: '--permission --allow-fs-read="/a \\"b"' },
    });
  });

  test('asks Deno for nothing', () => {
    const versions = { ...process.versions, deno: '2.0.0' };
    expect(nodeWorkerOptions({ execArgv: ['--inspect'], env: { NODE_OPTIONS: '--inspect' }, versions })).toEqual({});
  });
});

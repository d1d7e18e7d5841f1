import { execFile } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { makeFolder } from '../checkpoint/folders.ts';

const RECORD = new URL('../../scripts/build-record.mjs', import.meta.url).href;

/** What a build reads and writes, in a folder of its own. */
const FILES = {
  'src/index.ts': 'export const a = 1;',
  'src/shaders/add.wgsl': 'fn add() {}',
  'src/shaders/shaders.generated.ts': 'export const SHADERS = {};',
  'kernels/index.ts': 'export function add(): void {}',
  'scripts/build.mjs': 'console.log(1);',
  'package.json': '{"version":"1.0.0"}',
  'tsconfig.json': '{}',
  'tsconfig.build.json': '{}',
  'node_modules/.package-lock.json': '{"packages":{}}',
  'dist/index.js': 'export const a = 1;',
};

async function project() {
  const folder = await makeFolder();
  const write = async (path: string, text: string) => {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), text);
  };
  for (const [path, text] of Object.entries(FILES)) await write(path, text);
  const run = async (expression: string) => {
    const program = `import { isBuilt, recordBuild, sourcesDigest } from '${RECORD}'; console.log(${expression});`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], {
      cwd: folder,
    });
    return stdout.trim();
  };
  return { folder, write, run };
}

test('a build is up to date until anything that it reads or writes changes', async () => {
  const { folder, write, run } = await project();
  expect(await run('isBuilt()')).toBe('false');
  await run('recordBuild(sourcesDigest())');
  expect(await run('isBuilt()')).toBe('true');
  for (const [path, text] of Object.entries(FILES)) {
    await write(path, `${text} `);
    expect(await run('isBuilt()'), path).toBe('false');
    await write(path, text);
    expect(await run('isBuilt()'), path).toBe('true');
  }
  await write('src/more.ts', '');
  expect(await run('isBuilt()')).toBe('false');
  await rm(join(folder, 'src/more.ts'));
  await rm(join(folder, 'dist'), { recursive: true });
  expect(await run('isBuilt()')).toBe('false');
});

import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { moduleFile, moduleFolder } from '../../src/distributed/module-file.ts';
import { existingNodeScript, nodeScript } from '../../src/distributed/worker-scripts.ts';
import { LLM } from '../../src/engine/llm.ts';
import { RankFailedError } from '../../src/errors.ts';

const RANK_WORKER = fileURLToPath(new URL('../../src/engine/ranks/rank-worker.ts', import.meta.url));
const own = () => new URL('file:///own.js');

describe('scripts of workers in Node', () => {
  test('are where they are said to be: a path, a URL, or next to the module', () => {
    expect(nodeScript('rank', undefined, own).href).toBe('file:///own.js');
    expect(nodeScript('rank', 'folder/rank.js', own)).toEqual(pathToFileURL(join(process.cwd(), 'folder/rank.js')));
    expect(nodeScript('rank', 'file:///x/rank.js', own).href).toBe('file:///x/rank.js');
    expect(nodeScript('rank', new URL('file:///x/rank.js'), own).href).toBe('file:///x/rank.js');
  });

  test('that are missing are named, with what to do', () => {
    const missing = () => existingNodeScript('rank', './none.js', own);
    expect(missing).toThrow(RankFailedError);
    expect(missing).toThrow(
      /'rank' can't be started: there is no script '.*none\.js'.*mamba2\/rank-worker.*bundlers\.md/,
    );
    expect(() => nodeScript('rank', () => expect.fail(), own)).toThrow(/function/);
  });

  test('serve two ranks', async () => {
    await using llm = await LLM.load('tiny-dts', { tensorParallelSize: 2, workers: { rank: RANK_WORKER } });
    expect((await llm.complete('export ', { maxTokens: 2, temperature: 0 })).tokenIds).toHaveLength(2);
    const loading = LLM.load('tiny-dts', { tensorParallelSize: 2, workers: { rank: './none.js' } });
    await expect(loading).rejects.toThrow(/there is no script/);
  });
});

describe('files of the package', () => {
  test('lie next to the module, as source or as build', () => {
    expect(moduleFile('./a', 'file:///src/b.ts').href).toBe('file:///src/a.ts');
    expect(moduleFile('./a', 'file:///dist/b.js').href).toBe('file:///dist/a.js');
    expect(moduleFile('./a', 'file:///bundle/main.mjs').href).toBe('file:///bundle/a.mjs');
  });

  test('do not lie next to a bundle', () => {
    expect(moduleFolder('../page/', 'server/files', 'file:///p/dist/server/files.js')?.href).toBe(
      'file:///p/dist/page/',
    );
    expect(moduleFolder('../page/', 'server/files', 'file:///p/src/server/files.ts')?.href).toBe('file:///p/src/page/');
    expect(moduleFolder('../page/', 'server/files', 'file:///app/main.js')).toBeUndefined();
    expect(moduleFolder('../page/', 'server/files', undefined)).toBeUndefined();
  });
});

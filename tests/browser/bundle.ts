import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'vite';
import { makeFolder } from '../checkpoint/folders.ts';
import { ROOT } from './site.ts';

const APP = `
  import { LLM } from 'mamba2';
  globalThis.complete = async (model, options, prompt, maxTokens) => {
    const llm = await LLM.load(model, options);
    const { tokenIds } = await llm.complete(prompt, { temperature: 0, maxTokens });
    await llm.dispose();
    return tokenIds;
  };`;

/**
 * An application that Vite has bundled. → the folder of what it made
 * @param packages that it imports besides ours.
 */
export async function bundle(app = APP, packages: readonly string[] = []): Promise<string> {
  const root = await makeFolder({
    'index.html': '<script type="module" src="/main.js"></script>',
    'main.js': app,
    'node_modules/none': '',
  });
  const modules = join(root, 'node_modules');
  await symlink(ROOT, join(modules, 'mamba2'), 'dir');
  for (const name of packages) await symlink(join(ROOT, 'node_modules', name), join(modules, name), 'dir');
  await build({ root, logLevel: 'error', worker: { format: 'es' } });
  return join(root, 'dist');
}

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

/** An application that Vite has bundled. → the folder of what it made */
export async function bundle(): Promise<string> {
  const root = await makeFolder({
    'index.html': '<script type="module" src="/main.js"></script>',
    'main.js': APP,
    'node_modules/none': '',
  });
  await symlink(ROOT, join(root, 'node_modules', 'mamba2'), 'dir');
  await build({ root, logLevel: 'error', worker: { format: 'es' } });
  return join(root, 'dist');
}

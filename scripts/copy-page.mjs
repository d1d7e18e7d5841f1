// What of the pages is no TypeScript goes into the build as it is, and the package that renders Markdown with it: pages
// load it from the server that they come from.
import { cpSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

for (const page of ['page', 'playground']) {
  cpSync(`src/${page}`, `dist/${page}`, { recursive: true, filter: (file) => !file.endsWith('.ts') });
}
const marked = new URL('.', import.meta.resolve('marked/package.json'));
cpSync(fileURLToPath(new URL('lib/marked.esm.js', marked)), 'dist/page/marked.js');
cpSync(fileURLToPath(new URL('LICENSE', marked)), 'dist/page/marked-license.md');

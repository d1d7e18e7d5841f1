// What of the pages is no TypeScript goes into the build as it is.
import { cpSync } from 'node:fs';

for (const page of ['page', 'playground']) {
  cpSync(`src/${page}`, `dist/${page}`, { recursive: true, filter: (file) => !file.endsWith('.ts') });
}

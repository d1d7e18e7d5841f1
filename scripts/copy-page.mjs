// What of the chat page is no TypeScript goes into the build as it is.
import { cpSync } from 'node:fs';

cpSync('src/page', 'dist/page', { recursive: true, filter: (file) => !file.endsWith('.ts') });

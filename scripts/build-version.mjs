// Writes the package's version into a module: next to a bundle there is no package.json, or another package's.
import { readFileSync, writeFileSync } from 'node:fs';

const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
writeFileSync(
  'src/version.generated.ts',
  `// Made by scripts/build-version.mjs from package.json.\nexport const VERSION = '${version}';\n`,
);

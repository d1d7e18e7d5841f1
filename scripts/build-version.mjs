// Writes the package's version into a module: a bundle has no package.json beside it, or another's.
import { readFileSync, writeFileSync } from 'node:fs';

const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
writeFileSync(
  'src/version.generated.ts',
  `// Made by scripts/build-version.mjs from package.json.\nexport const VERSION = '${version}';\n`,
);

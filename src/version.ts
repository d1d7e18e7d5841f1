import { readFileSync } from 'node:fs';

/** The package's version. The same distance from src/ and from dist/. */
export function version(): string {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  return version;
}

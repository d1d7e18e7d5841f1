import { fileURLToPath } from 'node:url';

/** A tiny random model of an architecture. */
export function goldenFolder(name: string): string {
  return fileURLToPath(new URL(`../../goldens/${name}`, import.meta.url));
}

import { inject } from 'vitest';
import type { Need } from './probes.ts';

/** What the probe of a need found: a value that tests go on with, or why it is not to be had. */
export type Finding = { readonly value: string } | { readonly missing: string };

declare module 'vitest' {
  interface ProvidedContext {
    readonly needs: Readonly<Partial<Record<Need, Finding>>>;
  }
}

/**
 * What a test needs that not every machine has, as it was found once for the whole run (see global-setup.ts): undefined
 * where it is missing, and the tests are skipped then. Name it literally: the run probes what its files ask for.
 * @example describe.skipIf(!need('chromium'))('in Chromium', () => {})
 */
export function need(name: Need): string | undefined {
  const finding = inject('needs')[name];
  if (!finding) throw new Error(`'${name}' was not probed: write need('${name}') in the test's own file.`);
  return 'value' in finding ? finding.value : undefined;
}

import { runCases } from '../browser/suite/vitest-in-page.ts';

/** Runs what was described so far. → how many failed. */
export async function report(what: string): Promise<number> {
  const begin = performance.now();
  const results = await runCases();
  const failed = results.filter(({ failure }) => failure !== undefined);
  const seconds = ((performance.now() - begin) / 1000).toFixed(1);
  process.stdout.write(`${what}: ${results.length - failed.length} of ${results.length} pass, ${seconds} s\n`);
  for (const { name, failure } of failed) process.stdout.write(`  FAILED ${name}: ${failure?.slice(0, 300)}\n`);
  return failed.length;
}

import { readFile } from 'node:fs/promises';
import type { TestProject } from 'vitest/node';
import type { Finding } from './needs.ts';
import { type Need, PROBES } from './probes.ts';

/**
 * Finds out, once for the whole run, what is here of that which test files ask for by `need('…')`. Tests whose needs are
 * missing are skipped, and the run says at its beginning and its end what is missing and how to get it. In CI nothing may
 * be missing.
 */
export default async function setup(project: TestProject): Promise<() => void> {
  const findings = await probe(await neededBy(project));
  project.provide('needs', findings);
  const driver = findings['software-gpu'];
  // Tests inherit it, and the Vulkan loader reads it in each process that asks for a GPU.
  if (driver && 'value' in driver) process.env.VK_ICD_FILENAMES = driver.value;
  const lines = Object.entries(findings).flatMap(([name, finding]) =>
    'missing' in finding ? [missingLine(name as Need, finding.missing)] : [],
  );
  if (lines.length > 0 && process.env.CI) {
    throw new Error(['Tests may not be skipped in CI, and these need what is not here.', ...lines].join('\n'));
  }
  const say = () => {
    for (const line of lines) process.stderr.write(`Skipped: ${line}\n`);
  };
  say();
  return say;
}

/** What the files of this run ask for: others' needs are not looked for, as a browser takes seconds to start. */
async function neededBy({ vitest }: TestProject): Promise<readonly Need[]> {
  // Absent from vitest's types; without it the needs of all files are looked for.
  const { filenamePattern } = vitest as { readonly filenamePattern?: string[] };
  const files = (await vitest.getRelevantTestSpecifications(filenamePattern)).map(({ moduleId }) => moduleId);
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8')));
  return Object.keys(PROBES).filter((name): name is Need => texts.some((text) => text.includes(`need('${name}')`)));
}

async function probe(needs: readonly Need[]): Promise<Partial<Record<Need, Finding>>> {
  const findings: Partial<Record<Need, Finding>> = {};
  // One after the other: a machine of two cores starts one browser sooner than two.
  for (const name of needs) {
    findings[name] = await PROBES[name].find().then(
      (value) => ({ value }),
      (error: Error) => ({ missing: error.message.split('\n')[0] }),
    );
  }
  return findings;
}

function missingLine(need: Need, problem: string): string {
  const { name, howToGet } = PROBES[need];
  return `tests that need ${name} (${problem}). To run them ${howToGet}.`;
}

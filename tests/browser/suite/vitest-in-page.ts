import { assert as chaiAssert, util } from 'chai';

/**
 * What the backend suite uses of vitest, for a page: the build puts this in its place. Blocks and cases are collected when
 * they are described, and run one after another by {@link runCases}.
 */

type Run = () => unknown;

/** A case's own, as far as vitest's is used: what `skip` returns ends the case. */
const CONTEXT = { skip: () => {} };

interface Block {
  readonly name: string;
  readonly beforeAll: Run[];
  readonly afterAll: Run[];
  /** Cases and blocks, in order. */
  readonly entries: (Block | Case)[];
}

interface Case {
  readonly name: string;
  readonly run: (context: typeof CONTEXT) => unknown;
}

export interface CaseResult {
  /** Of the blocks around it and of itself. */
  readonly name: string;
  /** What it failed with. */
  readonly failure: string | undefined;
}

const root = emptyBlock('');
let current = root;

export const test = Object.assign(addCase, {
  each: eachBy(addCase),
  runIf: (condition: unknown) => (condition ? addCase : () => {}),
});
export const describe = Object.assign(addBlock, { each: eachBy(addBlock) });
export const assert = chaiAssert;

function addBlock(name: string, define: Run): void {
  const block = emptyBlock(name);
  current.entries.push(block);
  const outer = current;
  current = block;
  define();
  current = outer;
}

export function beforeAll(run: Run): void {
  current.beforeAll.push(run);
}

export function afterAll(run: Run): void {
  current.afterAll.push(run);
}

export function expect(actual: unknown) {
  return {
    toBe: (expected: unknown) =>
      assert(Object.is(actual, expected), `expected ${show(actual)} to be ${show(expected)}`),
    toEqual: (expected: unknown) => assert.deepEqual(actual, expected),
    toBeLessThan: (limit: number) => assert.isBelow(actual as number, limit),
    toBeGreaterThan: (limit: number) => assert.isAbove(actual as number, limit),
    toBeLessThanOrEqual: (limit: number) => assert.isAtMost(actual as number, limit),
    toBeGreaterThanOrEqual: (limit: number) => assert.isAtLeast(actual as number, limit),
    toBeCloseTo: (expected: number, digits: number) => assert.closeTo(actual as number, expected, 10 ** -digits / 2),
    toThrow: (kind: new (message: string) => Error) => assert.throws(actual as () => void, kind),
    not: { toThrow: () => assert.doesNotThrow(actual as () => void) },
  };
}

/** Runs all that was described so far, and forgets it. */
export async function runCases(): Promise<CaseResult[]> {
  const results: CaseResult[] = [];
  await runBlock(root, [], results);
  root.entries.length = 0;
  return results;
}

async function runBlock(block: Block, path: readonly string[], results: CaseResult[]): Promise<void> {
  const failure = await failureOf(async () => {
    for (const run of block.beforeAll) await run();
  });
  if (failure !== undefined) results.push({ name: [...path, 'beforeAll'].join(' > '), failure });
  for (const entry of failure === undefined ? block.entries : []) {
    const names = [...path, entry.name];
    if ('entries' in entry) await runBlock(entry, names, results);
    else results.push({ name: names.join(' > '), failure: await failureOf(() => entry.run(CONTEXT)) });
  }
  for (const run of block.afterAll) await run();
}

async function failureOf(run: Run): Promise<string | undefined> {
  try {
    await run();
  } catch (error) {
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  }
  return undefined;
}

function addCase(name: string, run: Case['run']): void {
  current.entries.push({ name, run });
}

function eachBy(add: (name: string, run: Run) => void) {
  return (items: readonly unknown[]) => (name: string, run: (...values: readonly unknown[]) => unknown) => {
    for (const item of items) {
      const values = Array.isArray(item) ? item : [item];
      add(nameOf(name, values), () => run(...values));
    }
  };
}

/** `%s` and the like are the values in order, `$key` those of an object. */
function nameOf(name: string, values: readonly unknown[]): string {
  const rest = [...values];
  return name
    .replace(/%[sdij]/g, () => show(rest.shift()))
    .replace(/\$(\w+)/g, (_, key: string) => show((values[0] as Readonly<Record<string, unknown>>)[key]));
}

function show(value: unknown): string {
  return typeof value === 'string' ? value : util.inspect(value);
}

function emptyBlock(name: string): Block {
  return { name, beforeAll: [], afterAll: [], entries: [] };
}

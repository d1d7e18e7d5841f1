import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** What Python's jinja2 makes of a template. */
export interface PythonResult {
  readonly text?: string;
  readonly error?: string;
}

/** A template, the JSON text of its variables, and whether the text ends within the last message. */
export type PythonCase = readonly [template: string, variables: string, isContinued?: boolean];

/** What transformers would make of the templates. */
export function renderInPython(cases: readonly PythonCase[]): PythonResult[] {
  const input = cases.map(
    ([template, variables, isContinued = false]) => `[${JSON.stringify(template)},${variables},${isContinued}]`,
  );
  const script = fileURLToPath(new URL('render.py', import.meta.url));
  const { stdout, stderr, status } = spawnSync('python3', [script], {
    input: `[${input.join(',')}]`,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    env: { ...process.env, PYTHONIOENCODING: 'utf-8', PYTHONUTF8: '1' },
  });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as PythonResult[];
}

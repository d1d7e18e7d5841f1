import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** What Python's jinja2 makes of a template. */
export interface PythonResult {
  readonly text?: string;
  readonly error?: string;
}

/** What transformers would make of the templates, each with the JSON text of its variables. */
export function renderInPython(cases: readonly (readonly [template: string, variables: string])[]): PythonResult[] {
  const input = `[${cases.map(([template, variables]) => `[${JSON.stringify(template)},${variables}]`).join(',')}]`;
  const script = fileURLToPath(new URL('render.py', import.meta.url));
  const { stdout, stderr, status } = spawnSync('python3', [script], {
    input,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    env: { ...process.env, PYTHONIOENCODING: 'utf-8', PYTHONUTF8: '1' },
  });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as PythonResult[];
}

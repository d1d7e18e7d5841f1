/**
 * Renders published chat templates with conversations of all kinds, here and with Python's jinja2 as transformers sets it
 * up, and prints where the texts differ.
 *
 *     node scripts/compare-templates.ts <folder of .jinja files>
 *
 * Needs python3 with jinja2 (Debian: python3-jinja2).
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Template } from '../src/text/jinja/template.ts';
import { CONVERSATIONS } from '../tests/text/jinja/conversations.ts';
import { renderInPython } from '../tests/text/jinja/python.ts';

const folder = process.argv[2];
if (folder === undefined) {
  console.error('Give a folder of .jinja files.');
  process.exit(2);
}

const names = readdirSync(folder).filter((name) => name.endsWith('.jinja'));
const cases = names.flatMap((name) => {
  const source = readFileSync(join(folder, name), 'utf8');
  return CONVERSATIONS.map((variables, conversation) => ({ name, source, variables, conversation }));
});
const inPython = renderInPython(cases.map(({ source, variables }) => [source, JSON.stringify(variables)] as const));

let differing = 0;
for (const [i, { name, source, variables, conversation }] of cases.entries()) {
  const python = inPython[i];
  const ours = render(source, variables);
  if (python.error === undefined ? ours.text === python.text : ours.error !== undefined) continue;
  differing++;
  console.log(`${name}, conversation ${conversation}`);
  console.log(`  Python: ${JSON.stringify(python)}`);
  console.log(`  ours:   ${JSON.stringify(ours)}`);
}
const rendered = inPython.filter(({ text }) => text !== undefined).length;
console.log(`${names.length} templates, ${cases.length} cases, ${rendered} rendered by Python, ${differing} differ`);
process.exitCode = differing > 0 ? 1 : 0;

function render(source: string, variables: Readonly<Record<string, unknown>>) {
  try {
    return { text: new Template(source).render(variables) };
  } catch (error) {
    return { error: String(error) };
  }
}

/** Writes expected.json and histories.json: what Python's jinja2 makes of the templates. Run: node tests/text/jinja/write-expected.ts */
import { writeFileSync } from 'node:fs';
import { HISTORIES } from './conversations.ts';
import { FAMILIES } from './families.ts';
import { renderInPython } from './python.ts';
import { EXPRESSION_TEMPLATES, STATEMENT_TEMPLATES, VARIABLES } from './snippets.ts';

const templates = [...new Set([...EXPRESSION_TEMPLATES, ...STATEMENT_TEMPLATES])];
const variables = JSON.stringify(VARIABLES);
const results = renderInPython(templates.map((template) => [template, variables] as const));
const lines = templates.map((template, i) => `  ${JSON.stringify(template)}: ${JSON.stringify(results[i])}`);
writeFileSync(new URL('expected.json', import.meta.url), `{\n${lines.join(',\n')}\n}\n`);

const histories = Object.entries(FAMILIES).map(([name, template]) => [
  name,
  renderInPython(HISTORIES.map((each) => [template, JSON.stringify(each)] as const)),
]);
writeFileSync(
  new URL('histories.json', import.meta.url),
  `${JSON.stringify(Object.fromEntries(histories), undefined, 2)}\n`,
);

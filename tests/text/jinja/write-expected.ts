/** Writes expected.json anew, after snippets.ts has changed: node tests/text/jinja/write-expected.ts */
import { writeFileSync } from 'node:fs';
import { renderInPython } from './python.ts';
import { EXPRESSION_TEMPLATES, STATEMENT_TEMPLATES, VARIABLES } from './snippets.ts';

const templates = [...new Set([...EXPRESSION_TEMPLATES, ...STATEMENT_TEMPLATES])];
const variables = JSON.stringify(VARIABLES);
const results = renderInPython(templates.map((template) => [template, variables] as const));
const lines = templates.map((template, i) => `  ${JSON.stringify(template)}: ${JSON.stringify(results[i])}`);
writeFileSync(new URL('expected.json', import.meta.url), `{\n${lines.join(',\n')}\n}\n`);

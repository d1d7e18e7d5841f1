#!/usr/bin/env node
import { nodeProblem } from './node-version.ts';

// Old versions of Node must be able to read this file and the one above: no syntax of late, and the rest only then.
const problem = nodeProblem(process.versions.node);
if (problem === '') {
  import('./run.ts')
    .then(({ run }) => run(process.argv.slice(2)))
    .then((code) => {
      // Not process.exit: what is still on its way to a pipe would be lost.
      process.exitCode = code;
    });
} else {
  process.stderr.write(`error: ${problem}\n`);
  process.exitCode = 1;
}

// Runs a program for Chrome's Prompt API on a model in the process:
// npm install @mlc-ai/web-xgrammar && node examples/prompt-api.js [model]
import process from 'node:process';
import { promptApi } from 'mamba2/prompt-api';

// In Chrome this is a global.
const LanguageModel = promptApi(process.argv[2] ?? 'tiny-dts');

const session = await LanguageModel.create({
  samplingMode: 'most-predictable',
  initialPrompts: [{ role: 'user', content: '/** A user of the site. */\nexport interface User {\n' }],
  monitor(monitor) {
    monitor.addEventListener('downloadprogress', (event) => {
      if ('loaded' in event && event.loaded === 1) console.log('The model is loaded.');
    });
  },
});

// The bundled model continues texts, so it is told where to stop.
const options = { responseConstraint: /\??: (string|number|boolean|Date);/, omitResponseConstraintInput: true };

// A clone shares what the model has read, and continues on its own.
const clone = await session.clone();
console.log(`name${await session.prompt('  name', options)}`);
process.stdout.write('birthday');
for await (const piece of clone.promptStreaming('  birthday', options)) process.stdout.write(piece);
process.stdout.write('\n');
console.log(`${session.contextUsage} tokens so far`);

session.destroy();
clone.destroy();
await LanguageModel.dispose();

// Loads a model and prints an answer while it is generated: node examples/generate.js [model] [prompt]
import process from 'node:process';
import { LLM, Mamba2Error } from 'mamba2';

const [model = 'tiny-dts', prompt = 'export interface User {\n'] = process.argv.slice(2);

try {
  const llm = await LLM.load(model);
  process.stdout.write(prompt);
  // Without `temperature: 0` tokens are drawn at random; a `seed` makes the draws the same every time.
  for await (const { text } of llm.generate(prompt, { maxTokens: 60, temperature: 0 })) process.stdout.write(text);
  process.stdout.write('\n');
  await llm.dispose();
} catch (error) {
  // Messages say what was found and what to do. `error.code` is stable, for programs.
  if (!(error instanceof Mamba2Error)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}

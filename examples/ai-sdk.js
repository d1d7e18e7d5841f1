// Answers with the Vercel AI SDK, from a model in the process: npm install ai && node examples/ai-sdk.js [model]
import process from 'node:process';
import { generateText, streamText } from 'ai';
import { LLM } from 'mamba2';
import { mamba2 } from 'mamba2/ai-sdk';

const llm = await LLM.load(process.argv[2] ?? 'tiny-dts');
const model = mamba2(llm);
const prompt = 'export interface User {';

const { text, usage } = await generateText({ model, prompt, maxOutputTokens: 24, temperature: 0 });
console.log(text);
console.log(`${usage.inputTokens} tokens in, ${usage.outputTokens} out`);

const { textStream } = streamText({ model, prompt, maxOutputTokens: 24, temperature: 0 });
for await (const piece of textStream) process.stdout.write(piece);
process.stdout.write('\n');

await llm.dispose();

// A Hono app with the model's API mounted in it, called in process by OpenAI's client: node examples/hono.js [model]
import process from 'node:process';
import { Hono } from 'hono';
import { LLM } from 'mamba2';
import { createApp } from 'mamba2/server';
import OpenAI from 'openai';

const model = process.argv[2] ?? 'tiny-dts';
const llm = await LLM.load(model, { ownThread: true });

const app = new Hono();
app.get('/', (context) => context.text('The API is at /llm/v1.'));
app.route('/llm', createApp({ llm, modelNames: [model] }));

// The client needs no port: requests go straight to the app. Only the path of `baseURL` counts.
const client = new OpenAI({
  baseURL: 'http://mamba2.invalid/llm/v1',
  apiKey: 'none',
  fetch: async (input, init) => app.fetch(new Request(input, init)),
});

const stream = await client.chat.completions.create({
  model,
  messages: [{ role: 'user', content: 'export interface User {' }],
  max_tokens: 40,
  temperature: 0,
  stream: true,
});
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta.content ?? '');
process.stdout.write('\n');

await llm.dispose();

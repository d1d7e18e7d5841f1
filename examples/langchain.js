// Answers with LangChain, from a model in the process:
// npm install @langchain/core @mlc-ai/web-xgrammar && node examples/langchain.js [model]
import process from 'node:process';
import { StringOutputParser } from '@langchain/core/output_parsers';
import { ChatPromptTemplate } from '@langchain/core/prompts';
import { LLM } from 'mamba2';
import { ChatMamba2 } from 'mamba2/langchain';

const llm = await LLM.load(process.argv[2] ?? 'tiny-dts');
const model = new ChatMamba2({ llm, temperature: 0, maxTokens: 100 });

const prompt = ChatPromptTemplate.fromMessages([['human', 'export interface {name} {{']]);
const chain = prompt.pipe(model).pipe(new StringOutputParser());
for await (const piece of await chain.stream({ name: 'User' })) process.stdout.write(piece);
process.stdout.write('\n');

const schema = {
  title: 'Declaration',
  type: 'object',
  properties: { kind: { enum: ['class', 'interface', 'type'] }, isExported: { type: 'boolean' } },
  required: ['kind', 'isExported'],
  additionalProperties: false,
};
console.log(await model.withStructuredOutput(schema).invoke('export interface User {'));

await llm.dispose();

import { expect } from 'vitest';
import type { GenerateOptions, LLM } from '../../src/index.ts';

const PROMPT = 'export interface User {';

const ASKED: readonly GenerateOptions[] = [
  {
    structuredOutputs: {
      json: {
        type: 'object',
        properties: { id: { type: 'integer' }, kind: { enum: ['a', 'b'] } },
        required: ['id', 'kind'],
      },
    },
  },
  {},
  { structuredOutputs: { regex: '[a-f]{4,8}' }, n: 3 },
  { temperature: 0 },
  { structuredOutputs: { choice: ['yes', 'no', 'perhaps'] }, temperature: 0 },
  { structuredOutputs: { grammar: 'root ::= "a" | "b" root' }, topK: 5 },
];

/** Answers with forms, and without, are the same alone as together. */
export async function assertSameInBatches(llm: LLM, maxTokens: number): Promise<void> {
  const answers = async (options: GenerateOptions) => {
    const { choices } = await llm.complete(PROMPT, { maxTokens, seed: 1, ...options });
    return choices.map(({ text, finishReason }) => `${finishReason}: ${text}`);
  };
  const alone: string[][] = [];
  for (const options of ASKED) alone.push(await answers(options));
  expect(await Promise.all(ASKED.map(answers))).toEqual(alone);
  for (const text of alone[2]) expect(text).toMatch(/^(stop|length): [a-f]{1,8}$/);
  expect(alone[4][0]).toMatch(/^stop: (yes|no|perhaps)$/);
  llm.engine.checkIntegrity();
}

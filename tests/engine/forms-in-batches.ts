import { expect } from 'vitest';
import type { GenerateOptions, LLM } from '../../src/index.ts';

const PROMPT = 'export interface User {';

/** Requests with forms of all kinds, and without. */
export const REQUESTS: readonly GenerateOptions[] = [
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

/** Answers are the same alone as together. */
export async function assertSameInBatches(
  llm: LLM,
  maxTokens: number,
  requests: readonly GenerateOptions[],
): Promise<readonly string[][]> {
  const answers = async (options: GenerateOptions) => {
    const { choices } = await llm.complete(PROMPT, { maxTokens, seed: 1, ...options });
    return choices.map(({ text, finishReason }) => `${finishReason}: ${text}`);
  };
  const alone: string[][] = [];
  for (const options of requests) alone.push(await answers(options));
  expect(await Promise.all(requests.map(answers))).toEqual(alone);
  llm.engine.checkIntegrity();
  return alone;
}

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { StructuredOutputsError } from '../../src/errors.ts';
import { type GenerateOptions, LLM } from '../../src/index.ts';
import { TINY_DTS } from '../cli/tiny-dts.ts';
import { ajv, randomSchema } from '../grammar/random-schemas.ts';
import { runs } from '../runs.ts';

const PROMPT = 'export interface User {';
const FREE: readonly GenerateOptions[] = [
  { temperature: 0 },
  { seed: 7 },
  { seed: 8, temperature: 1.5, topK: 20 },
  { temperature: 0, repetitionPenalty: 1.2 },
];
const BATCH = 16;
const FORMS = BATCH - FREE.length;

test('answers among others are valid by their schemas, whatever these are, and change no free answer', async () => {
  const llm = await LLM.load(TINY_DTS, { device: 'cpu', maxNumSeqs: BATCH });
  const complete = async (options: GenerateOptions) => {
    const { choices } = await llm.complete(PROMPT, { maxTokens: 48, ...options });
    return choices[0];
  };
  const alone = [];
  for (const options of FREE) alone.push(await complete(options));
  const schemas = fc.sample(randomSchema, { numRuns: runs(1000), seed: 1 });
  let finished = 0;
  for (let begin = 0; begin < schemas.length; begin += FORMS) {
    const forms = schemas.slice(begin, begin + FORMS).map(async (json, i) => {
      try {
        const { text, finishReason } = await complete({
          structuredOutputs: { json },
          seed: begin + i,
          temperature: 1.5,
        });
        if (finishReason !== 'stop') return;
        expect(ajv.validate(json, JSON.parse(text)), `${text} for ${JSON.stringify(json)}`).toBe(true);
        finished++;
      } catch (error) {
        if (!(error instanceof StructuredOutputsError && error.message.includes('accepts no value'))) throw error;
      }
    });
    const [free] = await Promise.all([Promise.all(FREE.map(complete)), Promise.all(forms)]);
    expect(free).toEqual(alone);
  }
  expect(finished).toBeGreaterThan(schemas.length / 3);
  llm.engine.checkIntegrity();
  await llm.dispose();
});

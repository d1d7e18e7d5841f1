import { afterAll, describe, expect, test } from 'vitest';
import { type GenerateOptions, LLM, type LogitsProcessor, LogitsProcessorError } from '../../src/index.ts';
import { TINY_DTS } from '../cli/tiny-dts.ts';
import { prompt as fakePrompt, Rig } from './engine-rig.ts';
import { assertSameInBatches } from './forms-in-batches.ts';

const PROMPT = 'export interface User {';
const llm = await LLM.load(TINY_DTS, { device: 'cpu', maxNumSeqs: 3 });
afterAll(() => llm.dispose());
const prompt = llm.tokenize(PROMPT);

/** Forces the tokens of a text, one after the other, and then leaves the model free. */
function forced(text: string): LogitsProcessor {
  const ids = llm.tokenize(text, { addSpecialTokens: false });
  return (tokenIds, logits, { numPromptTokens }) => {
    const id = ids[tokenIds.length - numPromptTokens];
    if (id === undefined) return;
    const logit = logits[id];
    logits.fill(Number.NEGATIVE_INFINITY);
    logits[id] = logit;
  };
}

/** Makes the next token depend on all before it. */
const rotated: LogitsProcessor = (tokenIds, logits) => {
  const sum = tokenIds.reduce((total, id) => total + id, 0);
  for (let id = sum % 7; id < logits.length; id += 7) logits[id] -= 5;
};

describe('a processor', () => {
  test('changes the logits in place, and knows prompt and answer', async () => {
    const seen: number[][] = [];
    const look: LogitsProcessor = (tokenIds, logits, { numPromptTokens, index }) => {
      expect([numPromptTokens, index, logits.length]).toEqual([prompt.length, 0, llm.config.vocabSize]);
      seen.push([...tokenIds]);
    };
    const logitsProcessors = [forced(' name: string;'), look];
    const { text, tokenIds } = await llm.complete(PROMPT, { logitsProcessors, maxTokens: 12 });
    expect(text).toMatch(/^ name: string;/);
    expect(seen).toEqual(tokenIds.map((_, i) => [...prompt, ...tokenIds.slice(0, i)]));
  });

  test('that changes nothing leaves the answer as it is', async () => {
    const options = { maxTokens: 20, seed: 3 };
    const free = await llm.complete(PROMPT, options);
    expect(await llm.complete(PROMPT, { ...options, logitsProcessors: [() => {}] })).toEqual(free);
  });

  test('has a say for each answer of several, and in a session', async () => {
    const { choices } = await llm.complete(PROMPT, {
      n: 3,
      maxTokens: 3,
      logitsProcessors: [(ids, logits, { index }) => forced(['a', 'b', 'c'][index])(ids, logits, answerAt(prompt))],
    });
    expect(choices.map(({ text }) => text[0])).toEqual(['a', 'b', 'c']);
    const session = llm.createSession();
    let text = '';
    for await (const chunk of session.generate(PROMPT, { logitsProcessors: [forced(' id')], maxTokens: 2 })) {
      text += chunk.text;
    }
    expect(text).toMatch(/^ id/);
  });

  test("comes before the request's other options, which forbid what they forbid", async () => {
    const only = (text: string, options: GenerateOptions) =>
      llm.complete(PROMPT, { ...options, maxTokens: 4, logitsProcessors: [forced(text)] });
    await expect(only('x', { badWords: ['x'] })).rejects.toThrow(LogitsProcessorError);
    const choice = { structuredOutputs: { choice: ['yes', 'yesterday'] } };
    await expect(only('no', choice)).rejects.toThrow('forbid');
    const avoid: LogitsProcessor = (_, logits) => logits.fill(-5, 0, 50);
    const { text } = await llm.complete(PROMPT, { ...choice, logitsProcessors: [avoid] });
    expect(['yes', 'yesterday']).toContain(text);
  });

  test('changes logprobs that are processed, and no others', async () => {
    const options = { logitsProcessors: [forced('x')], maxTokens: 1, logprobs: 3 } as const;
    const of = async (logprobsMode: 'raw_logprobs' | 'processed_logprobs') => {
      for await (const chunk of llm.generate(PROMPT, { ...options, logprobsMode })) return chunk;
      throw new Error('There is no answer.');
    };
    expect((await of('raw_logprobs')).topLogprobs).toHaveLength(3);
    expect((await of('processed_logprobs')).topLogprobs).toHaveLength(1);
  });

  test('is the same alone and among others, which it does not change', async () => {
    const structuredOutputs = { regex: '[a-f]{4,8}' };
    await assertSameInBatches(llm, 12, [
      { logitsProcessors: [rotated] },
      {},
      { logitsProcessors: [rotated], structuredOutputs, n: 2 },
      { temperature: 0 },
    ]);
  });

  test('gets its logits where the executor chooses the tokens of the others', async () => {
    const answers = async (samplesTokens: boolean) => {
      const rig = new Rig({}, undefined, samplesTokens);
      rig.add('free', fakePrompt(5, 1), { maxTokens: 9 });
      rig.add('processed', fakePrompt(5, 2), { maxTokens: 9, n: 2, logitsProcessors: [rotated] });
      await rig.finish();
      const rows = rig.executor.batches.flatMap(({ sequences }) =>
        sequences.map(({ sampling }) => sampling !== undefined),
      );
      return { tokens: rig.tokens, sampled: rows.filter(Boolean).length };
    };
    const onHost = await answers(false);
    const mixed = await answers(true);
    expect(mixed.tokens).toEqual(onHost.tokens);
    expect([onHost.sampled, mixed.sampled]).toEqual([0, 9]);
  });

  test('survives pre-emption', async () => {
    const options = { logitsProcessors: [rotated], seed: 1, maxTokens: 40, priority: 5 };
    const alone = await llm.complete(PROMPT, options);
    const first = llm.complete(PROMPT, options);
    const others: Promise<unknown>[] = [];
    for (let i = 0; i < 4; i++) {
      await new Promise((resolve) => setTimeout(resolve, 3));
      others.push(llm.complete(PROMPT, { maxTokens: 4, priority: 0, seed: i, n: 3 }));
    }
    expect(await first).toEqual(alone);
    await Promise.all(others);
  });
});

describe('a processor that fails', () => {
  const failing: Readonly<Record<string, LogitsProcessor>> = {
    'logitsProcessors[1] failed: no luck': (tokenIds) => {
      if (tokenIds.length > prompt.length + 2) throw new Error('no luck');
    },
    'logitsProcessors[1] returned a promise': async () => {},
    'logitsProcessors[1] returned a value (object)': (_, logits) => logits.map((logit) => logit / 2),
    'logitsProcessors[1] left logits that are NaN': (_, logits) => logits.fill(Number.NaN, 3, 4),
  };

  test.each(Object.keys(failing))('ends its request alone: %s', async (message) => {
    const free = llm.complete(PROMPT, { maxTokens: 8, seed: 1 });
    const failed = llm.complete(PROMPT, { maxTokens: 8, logitsProcessors: [() => {}, failing[message]] });
    await expect(failed).rejects.toThrow(LogitsProcessorError);
    await expect(failed).rejects.toThrow(message);
    expect(await free).toEqual(await llm.complete(PROMPT, { maxTokens: 8, seed: 1 }));
    llm.engine.checkIntegrity();
  });

  test('may spoil the token ids of its own answer only', async () => {
    const spoil: LogitsProcessor = (tokenIds) => {
      (tokenIds as number[]).length = 0;
    };
    const options = { maxTokens: 8, seed: 1 };
    const free = await llm.complete(PROMPT, options);
    expect(await llm.complete(PROMPT, { ...options, logitsProcessors: [spoil] })).toEqual(free);
  });

  test('is refused where it is no function', async () => {
    const wrong = { logitsProcessors: ['top'] } as unknown as GenerateOptions;
    await expect(llm.complete(PROMPT, wrong)).rejects.toThrow('logitsProcessors is no list of functions');
  });
});

function answerAt({ length }: readonly number[]) {
  return { numPromptTokens: length, index: 0 };
}

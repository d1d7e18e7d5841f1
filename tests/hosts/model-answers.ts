import { createHash } from 'node:crypto';
import { LLM } from '../../src/engine/llm.ts';
import type { LoadOptions } from '../../src/engine/load/load-options.ts';
import type { Session } from '../../src/engine/session/session.ts';

const PROMPT = Array.from({ length: 40 }, (_, i) => (i * 7) % 60);
const GREEDY = { maxTokens: 12, temperature: 0, ignoreEos: true };

/** What a model answers, down to the last bit, alone and among others, from its caches and from a session's file. */
export async function modelAnswers(folder: string, options: LoadOptions): Promise<object> {
  await using llm = await LLM.load(folder, {
    device: 'cpu',
    maxNumBatchedTokens: 24,
    snapshotInterval: 16,
    ...options,
  });
  const logits = hash(await llm.logits(PROMPT));
  const prompts = [PROMPT, PROMPT.slice(0, 30), PROMPT.toReversed()];
  const answers = await Promise.all(
    prompts.map((prompt) => llm.complete(prompt, { ...GREEDY, n: 2, temperature: 1, seed: 7 })),
  );
  const again = await llm.complete([...PROMPT, ...answers[0].tokenIds], GREEDY);
  const session = llm.createSession();
  const first = await told(session, PROMPT);
  const file = await session.save();
  const restored = await llm.loadSession(file);
  const [next, forked] = await Promise.all([restored, session.fork()].map((each) => told(each, [1, 2, 3])));
  const choices = answers.flatMap((answer) => answer.choices.map(({ tokenIds }) => tokenIds));
  return {
    logits,
    choices,
    again: again.tokenIds,
    first,
    file: hash(file),
    next,
    forked,
    hits: llm.engine.stats().prefixCache.hits,
  };
}

async function told(session: Session, prompt: readonly number[]): Promise<number[]> {
  const tokenIds: number[] = [];
  for await (const { tokenId } of session.generate(prompt, GREEDY)) tokenIds.push(tokenId);
  return tokenIds;
}

function hash(bytes: Uint8Array | Float32Array): string {
  return createHash('sha256')
    .update(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength))
    .digest('hex');
}

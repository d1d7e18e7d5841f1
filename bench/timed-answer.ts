import type { LLMEngine } from '../src/engine/llm-engine.ts';

/** An answer, and what it took from its first token on. */
export interface TimedAnswer {
  readonly tokenIds: readonly number[];
  /** Tokens per second. */
  readonly rate: number;
  /** Milliseconds of processors per token. */
  readonly work: number;
  /** Tokens per step. */
  readonly perStep: number;
}

/** Runs an engine until its only request is answered. */
export async function timedAnswer(engine: LLMEngine): Promise<TimedAnswer> {
  const tokenIds: number[] = [];
  let [first, begin, steps] = [0, 0, 0];
  let processors = process.cpuUsage();
  while (engine.hasUnfinishedRequests()) {
    const outputs = await engine.step();
    const given = outputs.flatMap((output) => output.outputs.flatMap((completion) => completion.tokens));
    tokenIds.push(...given.map(({ tokenId }) => tokenId));
    if (begin > 0) steps++;
    else if (given.length > 0) [first, begin, processors] = [given.length, performance.now(), process.cpuUsage()];
  }
  const seconds = (performance.now() - begin) / 1000;
  const { user, system } = process.cpuUsage(processors);
  const count = tokenIds.length - first;
  return { tokenIds, rate: count / seconds, work: (user + system) / 1000 / count, perStep: count / steps };
}

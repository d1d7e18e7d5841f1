import { onTestFinished, vi } from 'vitest';
import { LLMEngine } from '../../src/engine/llm-engine.ts';
import type { EngineContext } from '../../src/engine/load/engine-options.ts';
import type { EngineRequest } from '../../src/engine/request/engine-request.ts';
import type { RequestOutput } from '../../src/engine/request/request-output.ts';
import { type GenerateOptions, resolveSamplingParams } from '../../src/engine/sample/sampling-params.ts';
import { FAKE_VOCAB, type FakeBlocks, FakeExecutor } from './fake-executor.ts';

export const greedy = (options: GenerateOptions = {}) => resolveSamplingParams({ temperature: 0, ...options }, {});

/** Keeps what steps take from being measured, until the test ends. */
export function stopClock(): void {
  const clock = vi.spyOn(performance, 'now').mockReturnValue(0);
  onTestFinished(() => clock.mockRestore());
}

/** An engine over the fake model, and what its requests got. */
export class Rig {
  readonly executor: FakeExecutor;
  readonly engine: LLMEngine;
  readonly tokens = new Map<string, number[][]>();
  readonly ended = new Map<string, RequestOutput>();

  constructor(context: Partial<EngineContext> = {}, blocks?: FakeBlocks, samplesTokens = false, stages = 1) {
    this.executor = new FakeExecutor(context.maxNumSeqs ?? 3, blocks, samplesTokens, stages);
    this.engine = new LLMEngine({
      executor: this.executor,
      tokenizer: undefined,
      eosTokenIds: [],
      vocabSize: FAKE_VOCAB,
      maxNumSeqs: 3,
      maxNumBatchedTokens: 16,
      snapshotInterval: 4,
      prefixCacheBytes: 2000,
      ...context,
    });
  }

  add(
    requestId: string,
    promptTokenIds: number[],
    options: GenerateOptions = {},
    more: Pick<EngineRequest, 'onFinalState' | 'cacheSalt'> = {},
  ): void {
    const { priority } = options;
    this.engine.addRequest({ requestId, promptTokenIds, params: greedy(options), priority, ...more });
  }

  async step(): Promise<RequestOutput[]> {
    const outputs = await this.engine.step();
    this.engine.checkIntegrity();
    for (const output of outputs) {
      const answers = this.tokens.get(output.requestId) ?? [];
      for (const { index, tokens } of output.outputs) {
        answers[index] ??= [];
        answers[index].push(...tokens.map(({ tokenId }) => tokenId));
      }
      this.tokens.set(output.requestId, answers);
      if (output.finished) this.ended.set(output.requestId, output);
    }
    return outputs;
  }

  async finish(): Promise<void> {
    for (let steps = 0; this.engine.hasUnfinishedRequests(); steps++) {
      if (steps > 5000) throw new Error('A request starves.');
      await this.step();
    }
  }
}

export const prompt = (length: number, seed = 0) =>
  Array.from({ length }, (_, i) => (i * 7 + seed * 5 + (i >> 2)) % FAKE_VOCAB);

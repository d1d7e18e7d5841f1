import type { TextTokenizer } from '../text/tokenizer.ts';
import { yieldToEventLoop } from './event-loop.ts';
import type { Executor } from './executor.ts';
import { Sampler } from './sampler.ts';
import type { SamplingParams } from './sampling-params.ts';
import type { StateSlots } from './state-slots.ts';
import { TextOutput } from './text-output.ts';

/** Why a generation ended: a stop string or token, or the token limit. */
export type FinishReason = 'stop' | 'length';

/** One generated token. */
export interface GenerationChunk {
  /** Text that this token made certain. Empty while a character or a possible stop string is incomplete. */
  readonly text: string;
  readonly tokenId: number;
  /** Natural log of the token's probability under the model, before penalties and temperature. */
  readonly logprob: number;
  /** Set on the last chunk. */
  readonly finishReason: FinishReason | null;
}

/** What a generation runs on. */
export interface GenerationContext {
  readonly executor: Executor;
  readonly slots: StateSlots;
  readonly tokenizer: TextTokenizer | undefined;
  readonly eosTokenIds: readonly number[];
  readonly maxNumBatchedTokens: number;
}

/** Prompt in, tokens out: takes a slot, prefills it in chunks, then decodes until something ends the text. */
export async function* generate(
  context: GenerationContext,
  promptTokenIds: readonly number[],
  params: SamplingParams,
  signal?: AbortSignal,
): AsyncGenerator<GenerationChunk, void> {
  const { slots, tokenizer } = context;
  const sampler = new Sampler(params, promptTokenIds);
  const output = new TextOutput(tokenizer, promptTokenIds, params.stop);
  const endsText = (id: number) =>
    params.stopTokenIds.has(id) || (!params.ignoreEos && context.eosTokenIds.includes(id));
  const slot = await slots.acquire(signal);
  try {
    let numComputedTokens = 0;
    let logits: Float32Array = new Float32Array();
    const step = async (tokenIds: readonly number[]) => {
      signal?.throwIfAborted();
      logits = await context.executor.execute({ sequences: [{ slot, numComputedTokens, tokenIds }], logits: 'last' });
      numComputedTokens += tokenIds.length;
      await yieldToEventLoop();
    };
    for (let begin = 0; begin < promptTokenIds.length; begin += context.maxNumBatchedTokens) {
      await step(promptTokenIds.slice(begin, begin + context.maxNumBatchedTokens));
    }
    for (let count = 1; ; count++) {
      signal?.throwIfAborted();
      const { tokenId, logprob } = sampler.sample(logits);
      const ended = endsText(tokenId);
      const { text, stopped } = ended ? output.flush() : output.push(tokenId);
      if (ended || stopped) return yield { text, tokenId, logprob, finishReason: 'stop' };
      if (count === params.maxTokens) {
        const rest = output.flush();
        const finishReason = rest.stopped ? 'stop' : 'length';
        return yield { text: text + rest.text, tokenId, logprob, finishReason };
      }
      yield { text, tokenId, logprob, finishReason: null };
      await step([tokenId]);
    }
  } finally {
    slots.release(slot);
  }
}

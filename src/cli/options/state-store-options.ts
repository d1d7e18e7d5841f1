import type { LLM } from '../../engine/llm.ts';
import type { LoadOptions } from '../../engine/load/load-options.ts';
import { openStateStore } from '../../engine/store/homes/open-state-store.ts';
import { STATE_FETCHES } from '../../engine/store/transfer-rates.ts';
import { ArgumentError } from '../../errors.ts';
import { choice, text, type Values } from './option.ts';
import { UsageError } from './usage-error.ts';

/** Options of the commands that may share states with others. */
export const stateStoreOptions = {
  stateStore: text(
    'url',
    'Store of states that machines share: redis://host, rediss://user:password@host, s3://bucket/prefix?endpoint=…, file:folder; also read from MAMBA2_STATE_STORE',
  ),
  stateFetch: choice(
    STATE_FETCHES,
    'When states are fetched from it: measured, where that takes less time than computing them; always (default: measured)',
  ),
};

/** A store that a command opened, or none. */
export interface OpenStates extends AsyncDisposable {
  readonly loadOptions: Pick<LoadOptions, 'stateStore' | 'stateFetch'>;
  /** Puts what waits for it, as long as it takes, but at most for some seconds. The model takes no requests afterwards. */
  flush(llm: LLM): Promise<void>;
}

/** Time for what a command that has ended still has to put. */
const FLUSH_MILLISECONDS = 10_000;

/** Opens the store that the values name, or the environment. Rejects with UsageError where there is none of its kind. */
export async function openStates(values: Partial<Values<typeof stateStoreOptions>>): Promise<OpenStates> {
  const { stateStore: given = process.env.MAMBA2_STATE_STORE, stateFetch } = values;
  const store = given === undefined || given === '' ? undefined : await open(given);
  if (!store && stateFetch !== undefined) {
    throw new UsageError('--state-fetch has no effect without --state-store.', 'Give a store.');
  }
  return {
    loadOptions: { stateStore: store, stateFetch },
    flush: async (llm) => {
      if (store) await llm.engine.shutdown({ signal: AbortSignal.timeout(FLUSH_MILLISECONDS) });
    },
    [Symbol.asyncDispose]: async () => store?.close(),
  };
}

async function open(url: string) {
  try {
    return await openStateStore(url);
  } catch (error) {
    if (error instanceof ArgumentError) throw new UsageError(error.problem, error.hint);
    throw error;
  }
}

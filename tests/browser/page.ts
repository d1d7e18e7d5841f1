import {
  deleteStoredModel,
  LLM,
  type LoadOptions,
  Mamba2Error,
  type ProgressEvent,
  type StoredModel,
  storedModels,
} from '../../src/index.ts';

/** What the tests ask the page to do. Arguments and results are plain data. */
export interface PageActions {
  readonly greedy: (
    model: string,
    options: LoadOptions,
    prompts: readonly string[],
    maxTokens: number,
  ) => Promise<GreedyResult>;
  readonly logits: (model: string, options: LoadOptions, tokenIds: readonly number[]) => Promise<number[]>;
  /** → what the load failed with. */
  readonly failure: (model: string, options: LoadOptions) => Promise<Failure>;
  /** Aborts a load after some milliseconds, or when so many bytes of one file are there. */
  readonly abortedLoad: (
    model: string,
    after: { milliseconds: number } | { bytes: number },
  ) => Promise<{ reason: unknown; milliseconds: number }>;
  /** Ends one rank's worker while it generates. */
  readonly killedRank: (model: string, ranks: number, victim: number) => Promise<Failure>;
  /** The models that are stored, before one is deleted by its name, and after. */
  readonly storedAndDeleted: (name: string) => Promise<{ before: StoredModel[]; found: boolean; after: StoredModel[] }>;
  /** What the page does while one step of so many tokens runs. */
  readonly pageDuringStep: (model: string, tokens: number) => Promise<{ ticks: number; frames: number }>;
}

export interface GreedyResult {
  readonly tokenIds: readonly (readonly number[])[];
  readonly workers: number;
  readonly progress: readonly ProgressEvent['status'][];
  readonly device: LLM['device'];
}

export interface Failure {
  readonly name: string;
  readonly code: string | undefined;
  readonly message: string;
}

declare global {
  var pageActions: PageActions;
}

/** Every rank's worker that was started, so that tests can end one. */
const workers: Worker[] = [];
globalThis.Worker = class extends Worker {
  constructor(...parameters: ConstructorParameters<typeof Worker>) {
    super(...parameters);
    if (parameters[1]?.name === 'mamba2 rank') workers.push(this);
  }
};

globalThis.pageActions = {
  async greedy(model, options, prompts, maxTokens) {
    const progress: ProgressEvent['status'][] = [];
    const onProgress = ({ status }: ProgressEvent) => progress.push(status);
    const llm = await LLM.load(model, { ...options, onProgress });
    const tokenIds = [];
    for (const prompt of prompts) {
      const completion = await llm.complete(prompt, { temperature: 0, maxTokens, ignoreEos: true });
      tokenIds.push(completion.tokenIds);
    }
    await llm.dispose();
    return { tokenIds, workers: workers.length, progress: [...new Set(progress)], device: llm.device };
  },

  async logits(model, options, tokenIds) {
    const llm = await LLM.load(model, options);
    const logits = await llm.logits(tokenIds);
    await llm.dispose();
    return [...logits];
  },

  async failure(model, options) {
    try {
      await LLM.load(model, options);
    } catch (error) {
      return describe(error);
    }
    throw new Error('It loaded.');
  },

  async abortedLoad(model, after) {
    const aborting = new AbortController();
    let aborted = 0;
    const abort = () => {
      aborted ||= performance.now();
      aborting.abort('enough');
    };
    if ('milliseconds' in after) setTimeout(abort, after.milliseconds);
    const onProgress = ({ status, loaded = 0 }: ProgressEvent) => {
      if ('bytes' in after && status === 'progress' && loaded > after.bytes) abort();
    };
    const reason = await LLM.load(model, { signal: aborting.signal, onProgress }).catch((error: unknown) => error);
    return { reason, milliseconds: performance.now() - aborted };
  },

  async killedRank(model, ranks, victim) {
    const llm = await LLM.load(model, { tensorParallelSize: ranks });
    let count = 0;
    try {
      for await (const _ of llm.generate('export ', { maxTokens: 10_000, ignoreEos: true })) {
        if (++count === 5) workers[victim].terminate();
      }
    } catch (error) {
      return describe(error);
    }
    throw new Error('It generated to the end.');
  },

  async storedAndDeleted(name) {
    const before = await storedModels();
    return { before, found: await deleteStoredModel(name), after: await storedModels() };
  },

  async pageDuringStep(model, tokens) {
    const llm = await LLM.load(model, { maxNumBatchedTokens: tokens });
    let ticks = 0;
    let frames = 0;
    const timer = setInterval(() => ticks++, 5);
    const frame = () => {
      frames++;
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
    const prompt = Array.from({ length: tokens }, (_, i) => i % 4096);
    await llm.complete(prompt, { maxTokens: 1 });
    const during = { ticks, frames };
    clearInterval(timer);
    await llm.dispose();
    return during;
  },
};

function describe(error: unknown): Failure {
  if (!(error instanceof Error)) return { name: typeof error, code: undefined, message: String(error) };
  const code = error instanceof Mamba2Error ? error.code : undefined;
  return { name: error.name, code, message: error.message };
}

import {
  deleteStoredModel,
  LLM,
  type LoadOptions,
  Mamba2Error,
  openStateStore,
  type ProgressEvent,
  type StoredModel,
  type StructuredOutputs,
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
  /** Texts of answers that each have a form. */
  readonly formed: (model: string, forms: readonly StructuredOutputs[], maxTokens: number) => Promise<string[]>;
  readonly logits: (model: string, options: LoadOptions, tokenIds: readonly number[]) => Promise<number[]>;
  /** → what the load failed with. */
  readonly failure: (model: string, options: LoadOptions) => Promise<Failure>;
  /** Aborts a load when so many bytes of one file are there. → what it failed with, and how many were there in the end */
  readonly abortedLoad: (model: string, bytes: number) => Promise<{ reason: unknown; loadedBytes: number }>;
  /** Ends one rank's worker while it generates. */
  readonly killedRank: (model: string, ranks: number, victim: number) => Promise<Failure>;
  /** The models that are stored, before one is deleted by its name, and after. */
  readonly storedAndDeleted: (name: string) => Promise<{ before: StoredModel[]; found: boolean; after: StoredModel[] }>;
  /** An answer with a store of states in the page's private file system, and the prompt's tokens that were computed for it. */
  readonly shared: (model: string, prompt: string) => Promise<{ readonly text: string; readonly computed: number }>;
  /** What the page does while one step of so many tokens runs. */
  readonly pageDuringStep: (model: string, tokens: number) => Promise<PageActivity>;
}

export interface GreedyResult {
  readonly tokenIds: readonly (readonly number[])[];
  readonly workers: number;
  readonly progress: readonly ProgressEvent['status'][];
  readonly device: LLM['device'];
}

/** What a page did over some time. */
export interface PageActivity {
  readonly milliseconds: number;
  readonly frames: number;
  /** Longest time without a frame, in milliseconds. */
  readonly frameGap: number;
  /** Longest time in which a timer of 5 ms was not called. */
  readonly tickGap: number;
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

  async formed(model, forms, maxTokens) {
    const llm = await LLM.load(model, { device: 'cpu' });
    const answers = forms.map((structuredOutputs) =>
      llm.complete('export interface User {', { structuredOutputs, maxTokens, temperature: 0 }),
    );
    const texts = (await Promise.all(answers)).map(({ text }) => text);
    await llm.dispose();
    return texts;
  },

  async shared(model, prompt) {
    const stateStore = await openStateStore('opfs:states');
    const llm = await LLM.load(model, { device: 'cpu', stateStore, stateFetch: 'always' });
    const { text } = await llm.complete(prompt, { temperature: 0, maxTokens: 8 });
    await llm.engine.shutdown();
    const { prefillTokens: computed } = llm.engine.stats();
    await llm.dispose();
    await stateStore.close();
    return { text, computed };
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

  async abortedLoad(model, bytes) {
    const aborting = new AbortController();
    let loadedBytes = 0;
    const onProgress = ({ status, loaded = 0 }: ProgressEvent) => {
      if (status !== 'progress') return;
      loadedBytes = Math.max(loadedBytes, loaded);
      if (loaded > bytes) aborting.abort('enough');
    };
    const reason = await LLM.load(model, { signal: aborting.signal, onProgress }).catch((error: unknown) => error);
    return { reason, loadedBytes };
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
    const prompt = Array.from({ length: tokens }, (_, i) => i % 4096);
    const activity = await activityDuring(() => llm.complete(prompt, { maxTokens: 1 }));
    await llm.dispose();
    return activity;
  },
};

async function activityDuring(run: () => Promise<unknown>): Promise<PageActivity> {
  const begin = performance.now();
  const ticks = [begin];
  const frames = [begin];
  const timer = setInterval(() => ticks.push(performance.now()), 5);
  let request = 0;
  const frame = () => {
    frames.push(performance.now());
    request = requestAnimationFrame(frame);
  };
  request = requestAnimationFrame(frame);
  await run();
  clearInterval(timer);
  cancelAnimationFrame(request);
  const end = performance.now();
  return {
    milliseconds: end - begin,
    frames: frames.length - 1,
    frameGap: longestGap([...frames, end]),
    tickGap: longestGap([...ticks, end]),
  };
}

function longestGap(times: readonly number[]): number {
  return Math.max(...times.slice(1).map((time, i) => time - times[i]));
}

function describe(error: unknown): Failure {
  if (!(error instanceof Error)) return { name: typeof error, code: undefined, message: String(error) };
  const code = error instanceof Mamba2Error ? error.code : undefined;
  return { name: error.name, code, message: error.message };
}

import { type DTypeChoice, LLM } from '../../src/index.ts';
import type { WllamaModule } from './wllama.ts';
import type { Rates, Workload } from './workload.ts';

/** Measures one contender in this page: loads its model, warms up with the whole workload, then runs it once more. */
export interface PageMeasurements {
  readonly mamba2: (dtype: DTypeChoice, workload: Workload) => Promise<Rates>;
  readonly wllama: (dtype: string, workload: Workload) => Promise<Rates>;
}

/** A variable, so that the compiler does not look for it. */
const WLLAMA: string = '/wllama/index.js';

declare global {
  var measurements: PageMeasurements;
}

globalThis.measurements = {
  async mamba2(dtype, { shape, threads, promptTokens, generateTokens }) {
    const llm = await LLM.load(`/models/${shape}/`, { dtype, tensorParallelSize: threads, maxNumSeqs: 1 });
    const run = async (seed: number): Promise<Rates> => {
      const prompt = madeUpPrompt(promptTokens, seed);
      const begin = performance.now();
      let first = 0;
      for await (const _ of llm.generate(prompt, { maxTokens: generateTokens + 1, temperature: 0, ignoreEos: true })) {
        first ||= performance.now();
      }
      const end = performance.now();
      return { prefill: promptTokens / ((first - begin) / 1000), decode: generateTokens / ((end - first) / 1000) };
    };
    await run(1);
    const rates = await run(2);
    await llm.dispose();
    return rates;
  },

  async wllama(dtype, { shape, threads, promptTokens, generateTokens }) {
    const { Wllama }: WllamaModule = await import(WLLAMA);
    const quiet = { ...console, debug: () => {}, log: () => {} };
    const wllama = new Wllama({ default: '/wllama/wasm/wllama.wasm' }, { suppressNativeLog: true, logger: quiet });
    const file = await (await fetch(`/models/${shape}-${dtype}.gguf`)).blob();
    await wllama.loadModel([file], { n_threads: threads, n_gpu_layers: 0, n_ctx: 1024, n_parallel: 1 });
    if (wllama.getNumThreads() !== threads) throw new Error(`wllama runs ${wllama.getNumThreads()} threads.`);
    const run = async (seed: number): Promise<Rates> => {
      const prompt = String.fromCharCode(...madeUpPrompt(promptTokens, seed).map((letter) => 96 + letter));
      const { timings } = await wllama.createCompletion({
        prompt,
        max_tokens: generateTokens + 1,
        temperature: 0,
        ignore_eos: true,
        cache_prompt: false,
      });
      if (timings?.prompt_n !== promptTokens || timings.predicted_n !== generateTokens + 1) {
        throw new Error(`wllama ran something else: ${JSON.stringify(timings)}`);
      }
      // What it says itself: the way to the page is not counted. Of the tokens that it predicts the prompt gave the first.
      return {
        prefill: promptTokens / (timings.prompt_ms / 1000),
        decode: generateTokens / (timings.predicted_ms / 1000),
      };
    };
    await run(1);
    const rates = await run(2);
    await wllama.exit();
    return rates;
  },
};

/** Token ids from 1 to 26, which are letters in the vocabulary of the GGUF files: wllama takes text only. */
function madeUpPrompt(length: number, seed: number): number[] {
  return Array.from({ length }, (_, i) => 1 + ((i * i + seed * i + seed) % 26));
}

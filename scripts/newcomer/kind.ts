import type { Project } from './project.ts';

/** Answer of the bundled model that every project must get, on two ranks. */
export const PROMPT = 'export interface User {';
export const MAX_TOKENS = 12;

/** Loads a model on two ranks and returns what it says. Plain JavaScript, for every kind of project. */
export const SAY = `async function say(LLM, model, options = {}) {
  const llm = await LLM.load(model, { tensorParallelSize: 2, ...options });
  const { text } = await llm.complete(${JSON.stringify(PROMPT)}, { temperature: 0, maxTokens: ${MAX_TOKENS} });
  await llm.dispose();
  return text;
}
`;

/** Tools for trying a kind of project. */
export interface Bench {
  /** A fresh project in which the packed library is installed, besides these packages. */
  project(manifest: Readonly<Record<string, unknown>>, ...packages: readonly string[]): Promise<Project>;
  /**
   * Opens a page of a folder in a browser, isolated, with models at /models, and calls its global function `complete`.
   */
  inBrowser(folder: string, page?: string): Promise<string>;
}

/** A kind of project: how it is made, built and run. Its run returns what the model said. */
export interface Kind {
  readonly name: string;
  run(bench: Bench): Promise<string>;
}

import type { LLM } from '../engine/llm.ts';

/** Models without attention have no limit of their own. */
const MOST_TOKENS = 2 ** 20;

/** Tokens of an answer whose length the caller does not limit. */
export function mostTokens({ engine }: LLM): number {
  return Math.min(engine.maxModelLen, MOST_TOKENS);
}

/** Name of a model in results: the last part of its folder. */
export function modelName({ folder }: LLM): string {
  return folder.replace(/[/\\]+$/, '').replace(/^.*[/\\]/, '');
}

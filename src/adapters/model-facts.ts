import type { LLM } from '../engine/llm.ts';

/** As a server's answers: models without attention have no limit of their own, and some never end. */
const MOST_TOKENS = 16_384;

/** Tokens of an answer whose length the caller does not limit. */
export function mostTokens({ engine }: LLM): number {
  return Math.min(engine.maxModelLen, MOST_TOKENS);
}

/** Name of a model in results: the last part of its folder. */
export function modelName({ folder }: LLM): string {
  return folder.replace(/[/\\]+$/, '').replace(/^.*[/\\]/, '');
}

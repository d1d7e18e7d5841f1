import { text as readAll } from 'node:stream/consumers';
import type { Prompt } from '../../engine/request/prompt.ts';
import { parseIds } from './option.ts';
import { UsageError } from './usage-error.ts';

/** Sources of a prompt, of which at most one may be given. */
export interface PromptSources {
  readonly positional: string | undefined;
  readonly prompt: string | undefined;
  readonly tokenIds: string | undefined;
}

/**
 * The prompt from the command line, else all of standard input as it is, line ends included.
 * @throws UsageError
 */
export async function readPrompt({ positional, prompt, tokenIds }: PromptSources): Promise<Prompt> {
  const given = [positional, prompt, tokenIds].filter((source) => source !== undefined);
  if (given.length > 1)
    throw new UsageError('There are several prompts.', 'Give only one of [prompt], --prompt and --token-ids.');
  if (tokenIds !== undefined) return parseIds(tokenIds, '--token-ids');
  if (given.length === 1) return given[0];
  const piped = process.stdin.isTTY ? '' : await readAll(process.stdin);
  if (piped === '')
    throw new UsageError('There is no prompt.', 'Give one with [prompt], --prompt, --token-ids or through a pipe.');
  return piped;
}

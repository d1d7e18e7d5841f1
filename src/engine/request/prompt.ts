/** Text, or token ids. */
export type Prompt = string | readonly number[];

/** A copy of the prompt, which the caller can't change any more. */
export function detachedPrompt<P extends Prompt | undefined>(prompt: P): P | readonly number[] {
  return Array.isArray(prompt) || ArrayBuffer.isView(prompt) ? Array.from(prompt) : prompt;
}

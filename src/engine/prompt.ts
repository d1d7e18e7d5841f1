/** Text, or token ids. */
export type Prompt = string | readonly number[];

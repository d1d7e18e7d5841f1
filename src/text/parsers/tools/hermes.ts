import { taggedJson } from './tagged-json.ts';

/** Hermes, and Qwen before the coder models: `<tool_call>\n{"name": …, "arguments": {…}}\n</tool_call>`. */
export const hermes = taggedJson('hermes', { begin: '<tool_call>', end: '</tool_call>' });

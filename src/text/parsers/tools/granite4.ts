import { taggedJson } from './tagged-json.ts';

/** Granite 4: `<tool_call>\n{"name": …, "arguments": {…}}\n</tool_call>`. The tags are special tokens. */
export const granite4 = taggedJson('granite4', { begin: '<tool_call>', end: '</tool_call>' });

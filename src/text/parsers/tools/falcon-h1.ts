import { taggedJson } from './tagged-json.ts';

/**
 * Falcon-H1: as Hermes, but its prompt shows `{'arguments': <args-dict>, 'name': <function-name>}`. So arguments may come
 * before the name, and quotes may be Python's.
 */
export const falconH1 = taggedJson('falcon_h1', { begin: '<tool_call>', end: '</tool_call>' });

import { taggedJson } from './tagged-json.ts';

/** Nemotron Nano 2: `<TOOLCALL>[{"name": …, "arguments": {…}}, …]</TOOLCALL>`. */
export const nemotronJson = taggedJson('nemotron_json', { begin: '<TOOLCALL>', end: '</TOOLCALL>', isList: true });
